"""The life of a Wise transfer: funded from a balance, paid out in steps, and possibly bounced and refunded."""

import asyncio
import json
import time
from typing import Any
from uuid import uuid4

from adsandbox.database import Database
from adsandbox.webhooks import Webhooks
from adsandbox.wise.balances import Balances
from adsandbox.wise.wire import iso_time

SCHEMA = """
CREATE TABLE IF NOT EXISTS transfers (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  transaction_id TEXT NOT NULL UNIQUE,
  quote_id TEXT NOT NULL UNIQUE,
  account_id INTEGER NOT NULL,
  source_cents INTEGER NOT NULL,
  status TEXT NOT NULL,
  plan TEXT NOT NULL DEFAULT '[]',
  due_at REAL,
  body TEXT NOT NULL
);
"""

WAITING = "incoming_payment_waiting"
PAID_OUT = ["processing", "funds_converted", "outgoing_payment_sent"]
BOUNCED = ["bounced_back", "processing", "cancelled", "funds_refunded"]
# The last step of a plan that returns less than was sent: intermediary banks deducted their fees.
REFUNDED_IN_PART = "funds_refunded:"
STEP_S = 0.1
FIRST_ID = 16_500_000
# Wise's fee, on top of the transfer's amount.
FEE_CENTS = 50


def rendered(row: Any) -> dict[str, Any]:
    """Return a transfer in the API's format."""
    return {"id": row["id"], **json.loads(row["body"]), "status": row["status"]}


class Transfers:
    """Advances transfers. A state is stored with its webhook in one transaction, so a kill loses neither."""

    def __init__(self, profile_id: int, database: Database, webhooks: Webhooks, balances: Balances) -> None:
        self._profile_id = profile_id
        self._database = database
        self._webhooks = webhooks
        self._balances = balances
        self._wake = asyncio.Event()

    def open(self, body: dict[str, Any], source_cents: int) -> int:
        """Store a new transfer that waits for its funding; return its id."""
        with self._database.transaction():
            transfer_id = self._database.execute(
                """
                INSERT INTO transfers (id, transaction_id, quote_id, account_id, source_cents, status, body)
                VALUES (coalesce((SELECT max(id) + 1 FROM transfers), ?), ?, ?, ?, ?, ?, ?)
                """,
                (
                    FIRST_ID,
                    body["customerTransactionId"],
                    body["quoteUuid"],
                    body["targetAccount"],
                    source_cents,
                    WAITING,
                    json.dumps(body),
                ),
            )
            self._emit(transfer_id, body["targetAccount"], None, WAITING)
        return transfer_id

    def fund(self, row: Any) -> bool:
        """Debit the balance and start the payout; False if the balance is too low."""
        code = json.loads(row["body"])["sourceCurrency"]
        if self._balances.held_cents(code) < row["source_cents"]:
            return False
        with self._database.transaction():
            self._pay(row, -row["source_cents"], "Sent money")
            self._plan(row["id"], PAID_OUT, time.time() + STEP_S)
        return True

    def bounce(self, row: Any, returned_cents: int | None = None) -> bool:
        """Return the money as the recipient's bank, now or as soon as it is sent; False if that is impossible.

        By default the whole amount and the fee are returned.
        """
        plan = json.loads(row["plan"])
        if BOUNCED[0] in plan or not (plan or row["status"] == PAID_OUT[-1]):
            return False
        end = BOUNCED[-1:] if returned_cents is None else [f"{REFUNDED_IN_PART}{returned_cents}"]
        self._plan(row["id"], [*plan, *BOUNCED[:-1], *end], row["due_at"] or time.time())
        return True

    def return_part(self, row: Any, cents: int) -> bool:
        """Return a further part of a refunded transfer; False if it is not refunded."""
        if row["status"] != BOUNCED[-1]:
            return False
        with self._database.transaction():
            self._pay(row, cents, "Refunded money")
        return True

    def charge_back(self, row: Any) -> bool:
        """Charge a sent transfer back at once; False if it was not sent."""
        if row["status"] != PAID_OUT[-1] or row["due_at"] is not None:
            return False
        with self._database.transaction():
            self._move(row, "charged_back", [])
            self._pay(row, row["source_cents"], "Refunded money")
        return True

    def cancel(self, row: Any) -> None:
        """Cancel a transfer that was not funded."""
        with self._database.transaction():
            self._move(row, "cancelled", [])

    async def run(self) -> None:
        """Advance transfers by one state a step, until cancelled."""
        while True:
            self._wake.clear()
            for row in self._database.rows("SELECT * FROM transfers WHERE due_at <= ? ORDER BY due_at", (time.time(),)):
                step, *rest = json.loads(row["plan"])
                state, _, part = step.partition(":")
                with self._database.transaction():
                    self._move(row, state, rest)
                    if state == "funds_refunded":
                        self._pay(row, int(part or row["source_cents"]), "Refunded money")
            following = self._database.row("SELECT min(due_at) AS at FROM transfers")
            at = following["at"] if following else None
            try:
                await asyncio.wait_for(self._wake.wait(), None if at is None else max(0.0, at - time.time()))
            except TimeoutError:
                continue

    def _pay(self, row: Any, cents: int, what: str) -> None:
        body = json.loads(row["body"])
        details = {"type": "TRANSFER", "description": what, "paymentReference": body["reference"]}
        self._balances.move(body["sourceCurrency"], cents, f"TRANSFER-{row['id']}", str(row["id"]), details)

    def _plan(self, transfer_id: int, states: list[str], due_at: float) -> None:
        self._database.execute(
            "UPDATE transfers SET plan = ?, due_at = ? WHERE id = ?", (json.dumps(states), due_at, transfer_id)
        )
        self._wake.set()

    def _move(self, row: Any, state: str, rest: list[str]) -> None:
        self._database.execute(
            "UPDATE transfers SET status = ?, plan = ?, due_at = ? WHERE id = ?",
            (state, json.dumps(rest), time.time() + STEP_S if rest else None, row["id"]),
        )
        self._emit(row["id"], row["account_id"], row["status"], state)

    def _emit(self, transfer_id: int, account_id: int, previous: str | None, state: str) -> None:
        """Queue a webhook. Its times have milliseconds: receivers order by `occurred_at`, and a step is 0.1 s."""
        now = iso_time(time.time())
        resource = {"type": "transfer", "id": transfer_id, "profile_id": self._profile_id, "account_id": account_id}
        event = {
            "data": {"resource": resource, "current_state": state, "previous_state": previous, "occurred_at": now},
            "subscription_id": "01234567-89ab-cdef-0123-456789abcdef",
            "event_type": "transfers#state-change",
            "schema_version": "2.0.0",
            "sent_at": now,
        }
        self._webhooks.add(str(uuid4()), f"transfers#state-change {state}", str(transfer_id), event)
