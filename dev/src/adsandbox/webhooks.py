"""At-least-once webhooks: queued in the transaction that causes them, then sent until the receiver answers 2xx."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from itertools import groupby
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adsandbox.behaviour import Behaviour
from adsandbox.control import ControlError
from adsandbox.database import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS webhooks (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  event_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  body TEXT NOT NULL,
  state TEXT NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0,
  due_at REAL NOT NULL,
  last_status INTEGER,
  last_error TEXT
);
CREATE INDEX IF NOT EXISTS webhooks_due ON webhooks (due_at) WHERE state = 'PENDING';
"""

# 0.25 s doubling to 30 s: the last of 15 attempts is about five minutes after the first.
MIN_RETRY_DELAY_S = 0.25
MAX_RETRY_DELAY_S = 30.0
MAX_ATTEMPTS = 15
TIMEOUT_S = 5.0
SHUFFLE_WINDOW_S = 0.5
BATCH_SIZE = 100
MAX_LISTED = 500
# The oldest are deleted, except for those that are still to be sent.
MAX_STORED = 10_000

# The raw body, the event's id, and whether the signature is valid → headers.
Sign = Callable[[bytes, str, bool], dict[str, str]]

_log = logging.getLogger(__name__)


class Webhooks:
    """The webhook queue of a sandbox and its sender."""

    def __init__(self, database: Database, behaviour: Behaviour, url: str, sign: Sign) -> None:
        self._database = database
        self._behaviour = behaviour
        self._url = url
        self._sign = sign
        self._wake = asyncio.Event()

    def add(self, event_id: str, kind: str, subject: str, body: dict[str, Any]) -> None:
        """Queue an event about a subject; call it inside the transaction that causes it."""
        due_at = time.time() + (SHUFFLE_WINDOW_S if self._behaviour.shuffle_webhooks else 0)
        state = "DROPPED" if self._behaviour.drop_webhooks else "PENDING"
        for _ in range(2 if self._behaviour.duplicate_webhooks else 1):
            webhook_id = self._database.execute(
                "INSERT INTO webhooks (event_id, kind, subject, body, state, due_at) VALUES (?, ?, ?, ?, ?, ?)",
                (event_id, kind, subject, json.dumps(body), state, due_at),
            )
            self._database.execute(
                "DELETE FROM webhooks WHERE id <= ? AND state != 'PENDING'", (webhook_id - MAX_STORED,)
            )
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled; the next process sends the webhooks that were not answered with 2xx."""
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
            while True:
                self._wake.clear()
                if groups := self._due():
                    await asyncio.gather(*(self._send_all(client, group) for group in groups))
                    continue
                try:
                    await asyncio.wait_for(self._wake.wait(), self._pause_s())
                except TimeoutError:
                    continue

    def _due(self) -> list[list[Any]]:
        """Return the due webhooks grouped by subject, in order, or if shuffled as one group, newest first."""
        now = time.time()
        due = self._database.rows(
            "SELECT * FROM webhooks WHERE state = 'PENDING' AND due_at <= ? ORDER BY id LIMIT ?", (now, BATCH_SIZE)
        )
        if due and self._behaviour.shuffle_webhooks:
            newest_first = "WHERE state = 'PENDING' AND (tries = 0 OR due_at <= ?) ORDER BY id DESC LIMIT ?"
            return [self._database.rows(f"SELECT * FROM webhooks {newest_first}", (now, BATCH_SIZE))]  # noqa: S608 constant
        by_subject = sorted(due, key=lambda row: str(row["subject"]))
        return [list(group) for _, group in groupby(by_subject, key=lambda row: str(row["subject"]))]

    def _pause_s(self) -> float | None:
        row = self._database.row("SELECT min(due_at) AS due_at FROM webhooks WHERE state = 'PENDING'")
        return None if row is None or row["due_at"] is None else max(0.0, row["due_at"] - time.time())

    async def _send_all(self, client: httpx.AsyncClient, rows: list[Any]) -> None:
        for row in rows:
            await self._send(client, row)

    async def _send(self, client: httpx.AsyncClient, row: Any) -> None:
        body = str(row["body"]).encode()
        # Signed at each attempt: a receiver refuses a signature that is minutes old.
        headers = self._sign(body, row["event_id"], not self._behaviour.forge_webhooks)
        status, error = None, None
        try:
            answer = await client.post(self._url, content=body, headers={"Content-Type": "application/json", **headers})
            status = answer.status_code
            error = None if answer.is_success else answer.text[:500]
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            error = f"{type(failure).__name__}: {failure}"
        tries = row["tries"] + 1
        if error is None:
            state = "DELIVERED"
        else:
            state = "PENDING" if tries < MAX_ATTEMPTS else "FAILED"
            _log.warning("webhook %s (%s) try %d: %s %s", row["event_id"], row["kind"], tries, status or "", error)
        due_at = time.time() + min(MIN_RETRY_DELAY_S * 2 ** (tries - 1), MAX_RETRY_DELAY_S)
        self._database.execute(
            "UPDATE webhooks SET state = ?, tries = ?, due_at = ?, last_status = ?, last_error = ? WHERE id = ?",
            (state, tries, due_at, status, error, row["id"]),
        )

    def routes(self) -> list[Route]:
        """Return the control endpoints."""
        return [
            Route("/sandbox/webhooks", self._list, methods=["GET"]),
            Route("/sandbox/webhooks/{id:int}/resend", self._resend, methods=["POST"]),
        ]

    async def _list(self, _: Request) -> Response:
        rows = self._database.rows("SELECT * FROM webhooks ORDER BY id DESC LIMIT ?", (MAX_LISTED,))
        return JSONResponse({"webhooks": [_rendered(row) for row in reversed(rows)]})

    async def _resend(self, request: Request) -> Response:
        """Send a webhook again, in any state."""
        webhook_id = request.path_params["id"]
        self._database.execute(
            "UPDATE webhooks SET state = 'PENDING', tries = 0, due_at = ? WHERE id = ?", (time.time(), webhook_id)
        )
        row = self._database.row("SELECT * FROM webhooks WHERE id = ?", (webhook_id,))
        if row is None:
            raise ControlError(404, f"there is no webhook {webhook_id}; GET /sandbox/webhooks lists them")
        self._wake.set()
        return JSONResponse(_rendered(row))


def _rendered(row: Any) -> dict[str, Any]:
    return {**dict(row), "body": json.loads(row["body"])}
