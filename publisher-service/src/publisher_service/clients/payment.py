"""The client of payment-service's ledger for publishers' balances."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc
from typing_extensions import override

from adlib.rpc import Remote


@dataclass(frozen=True, slots=True)
class Balance:
    """A publisher's balance in one currency."""

    publisher_id: UUID
    currency_code: str
    pending_micros: int = 0
    available_micros: int = 0
    paid_micros: int = 0
    # Earned from organizations that are in debt.
    on_hold_micros: int = 0

    @property
    def earned_micros(self) -> int:
        """The total that the ledger has credited."""
        return self.pending_micros + self.available_micros + self.paid_micros + self.on_hold_micros


class Balances(Protocol):
    """The balances in the ledger."""

    def balances(self, publisher_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[Balance]]:
        """The balances of up to 200 publishers; publishers without any are left out. UNAVAILABLE."""
        ...


class RemoteBalances(Balances):
    """The balances, over gRPC."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._stub = payment_pb2_grpc.LedgerServiceStub(remote.channel)

    @override
    def balances(self, publisher_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[Balance]]:
        request = pb.ListPublisherBalancesRequest(publisher_ids=[str(id) for id in publisher_ids])
        found: dict[UUID, list[Balance]] = {}
        for one in self._remote.call(self._stub.ListPublisherBalances, request).balances:
            balance = Balance(
                UUID(one.publisher_id), one.currency_code, one.pending_micros, one.available_micros, one.paid_micros,
                one.on_hold_micros,
            )  # fmt: skip
            found.setdefault(balance.publisher_id, []).append(balance)
        return found
