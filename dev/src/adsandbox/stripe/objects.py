"""Stripe's objects: their storage, lists and expansion, and the events about them."""

import json
import secrets
import time
from typing import Any

from adsandbox.database import Database
from adsandbox.stripe import wire
from adsandbox.stripe.wire import Call, StripeError
from adsandbox.webhooks import Webhooks

API_VERSION = "2026-10-28.endive"
MAX_EXPANSION_DEPTH = 4

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  object TEXT NOT NULL,
  type TEXT,
  payment_id TEXT,
  created INTEGER NOT NULL,
  body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS objects_by_payment ON objects (payment_id);
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (object, seq);
"""

_LIST = """
SELECT body FROM objects
WHERE object = :object
  AND (:after IS NULL OR seq < (SELECT seq FROM objects WHERE id = :after))
  AND (:before IS NULL OR seq > (SELECT seq FROM objects WHERE id = :before))
  AND created BETWEEN :from AND :to
  AND (:types IS NULL OR type IN (SELECT value FROM json_each(:types)))
  AND (:intent IS NULL OR json_extract(body, '$.payment_intent') = :intent)
  AND (:charge IS NULL OR json_extract(body, '$.charge') = :charge)
ORDER BY seq {order}
LIMIT :limit
"""
# Two statements, because one for both would not use the index.
_NEWEST, _NEXT_NEWER = _LIST.format(order="DESC"), _LIST.format(order="ASC")

Json = dict[str, Any]


def new_id(prefix: str) -> str:
    """Return a new id with the prefix of its object's type."""
    return f"{prefix}_{secrets.token_hex(12)}"


class Objects:
    """Stores every object with an id. Methods that write need the caller's transaction."""

    def __init__(self, database: Database, webhooks: Webhooks) -> None:
        self._database = database
        self._webhooks = webhooks

    def add(self, made: Json, payment_id: str | None = None) -> Json:
        """Store a new object."""
        self._database.execute(
            "INSERT INTO objects (id, object, type, payment_id, created, body) VALUES (?, ?, ?, ?, ?, ?)",
            (made["id"], made["object"], made.get("type"), payment_id, made["created"], json.dumps(made)),
        )
        return made

    def save(self, changed: Json) -> Json:
        """Store a changed object."""
        self._database.execute("UPDATE objects SET body = ? WHERE id = ?", (json.dumps(changed), changed["id"]))
        return changed

    def find(self, kind: str, object_id: str, param: str = "id") -> Json:
        """Return the object of that type; StripeError if there is none."""
        row = self._database.row("SELECT body FROM objects WHERE object = ? AND id = ?", (kind, object_id))
        if row is None:
            raise StripeError(f"No such {kind}: '{object_id}'", status=404, code="resource_missing", param=param)
        found: Json = json.loads(row["body"])
        return found

    def intent_of(self, payment_id: object) -> Json | None:
        """Return the newest payment intent whose metadata has this payment_id."""
        newest = "SELECT body FROM objects WHERE object = 'payment_intent' AND payment_id = ? ORDER BY seq DESC"
        row = self._database.row(newest, (str(payment_id),))
        return json.loads(row["body"]) if row else None

    def open_dispute(self, charge_id: str, *, inquiries: bool = False) -> Json | None:
        """Return the charge's open dispute; an inquiry counts only on request."""
        for dispute in self._disputes(charge_id):
            is_inquiry = dispute["status"].startswith("warning_")
            if dispute["status"] not in ("won", "lost", "warning_closed") and (inquiries or not is_inquiry):
                return dispute
        return None

    def lost_minor(self, charge_id: str) -> int:
        """Return the sum that lost disputes withdrew from the charge, in minor units."""
        return sum(one["amount"] for one in self._disputes(charge_id) if one["status"] == "lost")

    def _disputes(self, charge_id: str) -> list[Json]:
        of_charge = "SELECT body FROM objects WHERE object = 'dispute' AND json_extract(body, '$.charge') = ?"
        return [json.loads(row["body"]) for row in self._database.rows(of_charge, (charge_id,))]

    def page(self, kind: str, call: Call, *more: str) -> Json:
        """Return a page, newest first, of `limit` (10) objects; `more` are the list's own filters."""
        given = call.parameters
        wire.refuse_unknown(given, "limit", "starting_after", "ending_before", "created", *more)
        limit = wire.integer(given, "limit") or 10
        if not 1 <= limit <= 100:
            raise StripeError("limit must be from 1 to 100", code="parameter_invalid_integer", param="limit")
        after, before = given.get("starting_after"), given.get("ending_before")
        for anchor in filter(None, (after, before)):
            self.find(kind, anchor)
        lowest, highest = _created(given.get("created"))
        types = list((given.get("types") or {}).values()) or ([given["type"]] if given.get("type") else None)
        rows = self._database.rows(
            _NEXT_NEWER if before else _NEWEST,
            {
                "object": kind,
                "after": after,
                "before": before,
                "from": lowest,
                "to": highest,
                "types": json.dumps(types) if types else None,
                "intent": given.get("payment_intent"),
                "charge": given.get("charge"),
                "limit": limit + 1,
            },
        )
        page = [json.loads(row["body"]) for row in rows[:limit]]
        return {
            "object": "list",
            "data": page[::-1] if before else page,
            "has_more": len(rows) > limit,
            "url": call.path,
        }

    def expanded(self, answer: Json, call: Call) -> Json:
        """Return the answer with the ids that `expand` names replaced by their objects."""
        for path in (call.parameters.get("expand") or {}).values():
            steps = str(path).split(".")
            if len(steps) > MAX_EXPANSION_DEPTH:
                raise StripeError(f"You cannot expand more than {MAX_EXPANSION_DEPTH} levels: {path}", param="expand")
            self._expand(answer, steps)
        return answer

    def _expand(self, place: Any, steps: list[str]) -> None:
        if isinstance(place, list):
            for one in place:
                self._expand(one, steps)
            return
        if not steps or not isinstance(place, dict):
            return
        inner = place.get(steps[0])
        if isinstance(inner, str):
            row = self._database.row("SELECT body FROM objects WHERE id = ?", (inner,))
            if row is None:
                raise StripeError(f"This property cannot be expanded ({steps[0]}).", param="expand")
            inner = place[steps[0]] = json.loads(row["body"])
        self._expand(inner, steps[1:])

    def emit(self, kind: str, about: Json, call: Call | None = None) -> None:
        """Queue an event with the object's present state; events about one payment are sent in order."""
        request = {"id": call.request_id, "idempotency_key": call.idempotency_key} if call else None
        event = {
            "id": new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": int(time.time()),
            "data": {"object": about},
            "livemode": False,
            "pending_webhooks": 1,
            "request": request or {"id": None, "idempotency_key": None},
            "type": kind,
        }
        self.add(event)
        self._webhooks.add(str(event["id"]), kind, str(about.get("payment_intent") or about["id"]), event)


def _created(given: Any) -> tuple[int, int]:
    """Return the earliest and the latest time that the filter `created` admits, in seconds."""
    if isinstance(given, dict):
        wire.refuse_unknown(given, "gt", "gte", "lt", "lte")
        bounds = {name: wire.integer(given, name) for name in given}
        lowest = max(bounds.get("gte") or 0, (bounds.get("gt") or -1) + 1)
        highest = min(bounds.get("lte") or 2**53, (bounds.get("lt") or 2**53) - 1)
        return lowest, highest
    exact = wire.integer({"created": given}, "created")
    return (0, 2**53) if exact is None else (exact, exact)
