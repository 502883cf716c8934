"""The profile's Wise balance in each currency, its movements and their webhooks."""

import json
import time
from datetime import datetime
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from adsandbox.database import Database
from adsandbox.webhooks import Webhooks
from adsandbox.wise import wire
from adsandbox.wise.wire import WiseError, iso_time

SCHEMA = """
CREATE TABLE IF NOT EXISTS balances (currency TEXT PRIMARY KEY, cents INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS movements (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  reference TEXT NOT NULL,
  currency TEXT NOT NULL,
  cents INTEGER NOT NULL,
  running_cents INTEGER NOT NULL,
  at REAL NOT NULL,
  details TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS movements_of_currency ON movements (currency, at);
CREATE INDEX IF NOT EXISTS movements_of_reference ON movements (reference);
"""

# The initial balance in each currency.
INITIAL_BALANCE_CENTS = 10**11
MAX_INTERVAL_S = 469 * 86_400

IDS = {code: number for number, code in enumerate(wire.USD_CENTS, 1)}

Json = dict[str, Any]


class Balances:
    """The profile's balances. A movement is stored with its webhook in one transaction, so a kill loses neither."""

    def __init__(self, profile_id: int, database: Database, webhooks: Webhooks) -> None:
        self._profile_id = profile_id
        self._database = database
        self._webhooks = webhooks

    def held_cents(self, code: str) -> int:
        """Return the balance in a currency, in cents."""
        row = self._database.row("SELECT cents FROM balances WHERE currency = ?", (code,))
        return INITIAL_BALANCE_CENTS if row is None else int(row["cents"])

    def set(self, code: str, held_cents: int) -> None:
        """Set the balance in a currency."""
        self._database.execute("INSERT OR REPLACE INTO balances VALUES (?, ?)", (code, held_cents))

    def move(self, code: str, cents: int, reference: str, transfer_reference: str, details: Json) -> None:
        """Credit or debit a balance; call it inside a transaction."""
        now, running_cents = time.time(), self.held_cents(code) + cents
        self.set(code, running_cents)
        step_id = self._database.execute(
            "INSERT INTO movements (reference, currency, cents, running_cents, at, details) VALUES (?, ?, ?, ?, ?, ?)",
            (reference, code, cents, running_cents, now, json.dumps(details)),
        )
        direction = "credit" if cents > 0 else "debit"
        event = {
            "data": {
                "resource": {"id": IDS[code], "profile_id": self._profile_id, "type": "balance-account"},
                "amount": wire.amount(abs(cents)),
                "balance_id": IDS[code],
                "channel_name": "TRANSFER",
                "currency": code,
                "occurred_at": iso_time(now),
                "post_transaction_balance_amount": wire.amount(running_cents),
                "step_id": step_id,
                "transaction_type": direction,
                "transfer_reference": transfer_reference,
            },
            "subscription_id": "01234567-89ab-cdef-0123-456789abcdef",
            "event_type": "balances#update",
            "schema_version": "3.0.0",
            "sent_at": iso_time(now),
        }
        self._webhooks.add(str(uuid4()), f"balances#update {direction}", reference, event)

    async def list(self, _: Request) -> Response:
        """Return the balances: GET /v4/profiles/{profile}/balances."""
        return JSONResponse(
            [
                {"id": number, "currency": code, "type": "STANDARD", "amount": _money(self.held_cents(code), code)}
                for code, number in IDS.items()
            ]
        )

    async def statement(self, request: Request) -> Response:
        """Return the movements of an interval, newest first. Only the statement names sender and reference."""
        asked, code = request.query_params, _currency_of(request)
        start_s, end_s = _time(request, "intervalStart"), _time(request, "intervalEnd")
        if not 0 <= end_s - start_s <= MAX_INTERVAL_S:
            raise WiseError("the interval must not exceed 469 days", status=400, path="intervalEnd")
        if asked.get("type", "COMPACT") != "COMPACT":
            raise WiseError("the sandbox knows COMPACT only", status=400, path="type")
        rows = self._database.rows(
            "SELECT * FROM movements WHERE currency = ? AND at BETWEEN ? AND ? ORDER BY id DESC", (code, start_s, end_s)
        )
        return JSONResponse(
            {
                "accountHolder": {"type": "BUSINESS", "businessName": wire.HOLDER},
                "bankDetails": None,
                "transactions": [_line(row) for row in rows],
                "endOfStatementBalance": _money(rows[0]["running_cents"] if rows else self.held_cents(code), code),
                "query": {name: asked[name] for name in ("intervalStart", "intervalEnd")}
                | {"currency": code, "accountId": IDS[code]},
            }
        )


def _line(row: Any) -> Json:
    code = row["currency"]
    return {
        "type": "CREDIT" if row["cents"] > 0 else "DEBIT",
        "date": iso_time(row["at"]),
        "amount": _money(row["cents"], code),
        "totalFees": _money(0, code),
        "details": json.loads(row["details"]),
        "exchangeDetails": None,
        "runningBalance": _money(row["running_cents"], code),
        "referenceNumber": row["reference"],
    }


def _money(cents: int, code: str) -> Json:
    return {"value": wire.amount(cents), "currency": code}


def _currency_of(request: Request) -> str:
    code = request.query_params.get("currency", "")
    if IDS.get(code) != request.path_params["balance"]:
        raise WiseError("the balance does not exist, or has another currency", status=404, code="balance.not-found")
    return code


def _time(request: Request, name: str) -> float:
    try:
        return datetime.fromisoformat(request.query_params.get(name, "")).timestamp()
    except ValueError:
        raise WiseError(f"{name} must be a time", status=400, path=name) from None
