"""payment-service's ledger, as publishers need it."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

import grpc
from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc

from adlib.errors import RemoteError, Unavailable
from adlib.rpc import Remote
from publisher_service.payouts.model import BankAccount, Payout


@dataclass(frozen=True, slots=True)
class Balance:
    """What a publisher has in one currency."""

    publisher_id: UUID
    currency_code: str
    pending_micros: int = 0
    available_micros: int = 0
    paid_micros: int = 0
    # Earned from organizations that owe money.
    on_hold_micros: int = 0

    @property
    def earned_micros(self) -> int:
        """All that was ever credited."""
        return self.pending_micros + self.available_micros + self.paid_micros + self.on_hold_micros


class Ledger(Protocol):
    """Keeps publishers' money. Every call is idempotent by the payout's id; each may raise UNAVAILABLE."""

    def balances(self, publisher_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[Balance]]:
        """What up to 200 publishers have, by currency; those without any rows are left out."""
        ...

    def reserve(self, payout: Payout) -> None:
        """Sets the amount aside; INSUFFICIENT_FUNDS."""
        ...

    def cancel(self, payout: Payout) -> None:
        """Gives a reserved amount back."""
        ...

    def send(self, payout: Payout) -> None:
        """Sends a reserved amount to its destination."""
        ...


class RemoteLedger:
    """Asks payment-service."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._stub = payment_pb2_grpc.LedgerServiceStub(remote.channel)

    def balances(self, publisher_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[Balance]]:
        """What up to 200 publishers have, by currency; those without any rows are left out."""
        request = pb.ListPublisherBalancesRequest(publisher_ids=[str(id) for id in publisher_ids])
        found: dict[UUID, list[Balance]] = {}
        for one in self._remote.call(self._stub.ListPublisherBalances, request).balances:
            balance = Balance(
                UUID(one.publisher_id), one.currency_code, one.pending_micros, one.available_micros, one.paid_micros,
                one.on_hold_micros,
            )  # fmt: skip
            found.setdefault(balance.publisher_id, []).append(balance)
        return found

    def reserve(self, payout: Payout) -> None:
        """Sets the amount aside; INSUFFICIENT_FUNDS."""
        request = pb.ReservePayoutRequest(
            payout_id=str(payout.id),
            publisher_id=str(payout.publisher_id),
            organization_id=str(payout.organization_id),
            amount_micros=payout.amount_micros,
            currency_code=payout.currency_code,
        )
        self._remote.call(self._stub.ReservePayout, request)

    def cancel(self, payout: Payout) -> None:
        """Gives a reserved amount back."""
        self._remote.call(self._stub.CancelPayout, pb.CancelPayoutRequest(payout_id=str(payout.id)))

    def send(self, payout: Payout) -> None:
        """Sends a reserved amount to its destination."""
        request = pb.SendPayoutRequest(payout_id=str(payout.id), destination=to_pb(payout.destination))
        self._remote.call(self._stub.SendPayout, request)


def to_pb(account: BankAccount) -> pb.BankAccount:
    """The account as the contract has it."""
    if account.iban is not None:
        return pb.BankAccount(account_holder_name=account.account_holder_name, iban=account.iban)
    return pb.BankAccount(
        account_holder_name=account.account_holder_name,
        united_states=pb.BankAccount.UnitedStates(
            routing_number=account.routing_number or "", account_number=account.account_number or ""
        ),
    )


class FakeLedger:
    """A ledger in memory, for tests; it can be down, and can do what was asked without its answer arriving."""

    def __init__(self) -> None:
        self.is_down = False
        self.loses_answers = False
        # What was done with each payout: reserved, cancelled or sent.
        self.payouts: dict[UUID, str] = {}
        self._balances: dict[tuple[UUID, str], Balance] = {}
        self._lock = threading.Lock()

    def credit(self, publisher_id: UUID, amount_micros: int, currency_code: str = "USD") -> None:
        """What the publisher has earned."""
        with self._lock:
            self._move(publisher_id, currency_code, available=amount_micros)

    def hold_earnings(self, publisher_id: UUID, amount_micros: int, currency_code: str = "USD") -> None:
        """What the publisher has earned from an organization that has come into debt."""
        with self._lock:
            self._move(publisher_id, currency_code, available=-amount_micros, on_hold=amount_micros)

    def balances(self, publisher_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[Balance]]:
        """What these publishers have, by currency; those without any rows are left out."""
        if self.is_down:
            raise _down()
        kept = sorted(self._balances.items())
        found = {id: [balance for (owner, _), balance in kept if owner == id] for id in publisher_ids}
        return {id: rows for id, rows in found.items() if rows}

    def reserve(self, payout: Payout) -> None:
        """Sets the amount aside; INSUFFICIENT_FUNDS."""
        self._do(payout, "reserved")

    def cancel(self, payout: Payout) -> None:
        """Gives a reserved amount back."""
        self._do(payout, "cancelled")

    def send(self, payout: Payout) -> None:
        """Sends a reserved amount to its destination."""
        self._do(payout, "sent")

    def _do(self, payout: Payout, what: str) -> None:
        if self.is_down:
            raise _down()
        with self._lock:
            before = self.payouts.get(payout.id)
            if before is None and what == "reserved":
                available = self._balance(payout.publisher_id, payout.currency_code).available_micros
                if available < payout.amount_micros:
                    raise RemoteError(
                        grpc.StatusCode.FAILED_PRECONDITION,
                        ErrorReason.INSUFFICIENT_FUNDS,
                        "the available balance is too small",
                        {"availableMicros": str(available), "requiredMicros": str(payout.amount_micros)},
                    )
                self._set_aside(payout, payout.amount_micros)
            elif before == "reserved" and what == "cancelled":
                self._set_aside(payout, -payout.amount_micros)
            elif before != what and (before, what) != ("reserved", "sent"):
                raise AssertionError(f"payout {payout.id} was {before} and cannot be {what}")
            self.payouts[payout.id] = what
        if self.loses_answers:
            raise _down()

    def _set_aside(self, payout: Payout, amount_micros: int) -> None:
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
