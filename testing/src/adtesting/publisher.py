"""Fakes of the services that publisher-service calls."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

import grpc
from adplatform.errors.v1.errors_pb2 import ErrorReason
from typing_extensions import override

from adlib.errors import RemoteError, Unavailable
from publisher_service.clients.payment import Balance
from publisher_service.payouts.clients.payment import Ledger
from publisher_service.payouts.model import Payout


class FakeLedger(Ledger):
    """A ledger in memory. `is_down`: it does not answer. `loses_answers`: it executes calls, but does not answer."""

    def __init__(self) -> None:
        self.is_down = False
        self.loses_answers = False
        # The last call that changed each payout: reserved, cancelled or sent.
        self.payouts: dict[UUID, str] = {}
        self._balances: dict[tuple[UUID, str], Balance] = {}
        self._lock = threading.Lock()

    def credit(self, publisher_id: UUID, amount_micros: int, currency_code: str = "USD") -> None:
        """Credits earnings to the publisher."""
        with self._lock:
            self._move(publisher_id, currency_code, available=amount_micros)

    def hold_earnings(self, publisher_id: UUID, amount_micros: int, currency_code: str = "USD") -> None:
        """Puts earnings on hold, as when the organization that paid them is in debt."""
        with self._lock:
            self._move(publisher_id, currency_code, available=-amount_micros, on_hold=amount_micros)

    @override
    def balances(self, publisher_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[Balance]]:
        if self.is_down:
            raise _down()
        rows = sorted(self._balances.items())
        found = {id: [balance for (owner, _), balance in rows if owner == id] for id in publisher_ids}
        return {id: balances for id, balances in found.items() if balances}

    @override
    def reserve(self, payout: Payout) -> None:
        self._change(payout, "reserved")

    @override
    def cancel(self, payout: Payout) -> None:
        self._change(payout, "cancelled")

    @override
    def send(self, payout: Payout) -> None:
        self._change(payout, "sent")

    def _change(self, payout: Payout, to: str) -> None:
        if self.is_down:
            raise _down()
        with self._lock:
            before = self.payouts.get(payout.id)
            if before is None and to == "reserved":
                available = self._balance(payout.publisher_id, payout.currency_code).available_micros
                if available < payout.amount_micros:
                    raise RemoteError(
                        grpc.StatusCode.FAILED_PRECONDITION,
                        ErrorReason.INSUFFICIENT_FUNDS,
                        "the available balance is too small",
                        {"availableMicros": str(available), "requiredMicros": str(payout.amount_micros)},
                    )
                self._reserve(payout, payout.amount_micros)
            elif before == "reserved" and to == "cancelled":
                self._reserve(payout, -payout.amount_micros)
            elif before != to and (before, to) != ("reserved", "sent"):
                raise AssertionError(f"payout {payout.id} was {before} and cannot be {to}")
            self.payouts[payout.id] = to
        if self.loses_answers:
            raise _down()

    def _reserve(self, payout: Payout, amount_micros: int) -> None:
        self._move(payout.publisher_id, payout.currency_code, available=-amount_micros, pending=amount_micros)

    def _move(
        self, publisher_id: UUID, currency_code: str, *, available: int = 0, pending: int = 0, on_hold: int = 0
    ) -> None:
        balance = self._balance(publisher_id, currency_code)
        self._balances[publisher_id, currency_code] = replace(
            balance,
            available_micros=balance.available_micros + available,
            pending_micros=balance.pending_micros + pending,
            on_hold_micros=balance.on_hold_micros + on_hold,
        )

    def _balance(self, publisher_id: UUID, currency_code: str) -> Balance:
        return self._balances.get((publisher_id, currency_code)) or Balance(publisher_id, currency_code)


def _down() -> Unavailable:
    return Unavailable("payment-service does not answer; try again")
