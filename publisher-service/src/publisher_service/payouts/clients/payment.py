"""The client of payment-service's ledger for payouts."""

from typing import Protocol

from adplatform.payment.v1 import payment_pb2 as pb
from typing_extensions import override

from publisher_service.clients.payment import Balances, RemoteBalances
from publisher_service.payouts.messages import bank_account_pb
from publisher_service.payouts.model import Payout


class Ledger(Balances, Protocol):
    """The ledger. Each call may be repeated, since the payout's id is its idempotency key. UNAVAILABLE."""

    def reserve(self, payout: Payout) -> None:
        """Reserves the amount; INSUFFICIENT_FUNDS."""
        ...

    def cancel(self, payout: Payout) -> None:
        """Returns a reserved amount to the publisher's balance."""
        ...

    def send(self, payout: Payout) -> None:
        """Sends a reserved amount to its destination."""
        ...


class RemoteLedger(RemoteBalances, Ledger):
    """The ledger, over gRPC."""

    @override
    def reserve(self, payout: Payout) -> None:
        request = pb.ReservePayoutRequest(
            payout_id=str(payout.id),
            publisher_id=str(payout.publisher_id),
            organization_id=str(payout.organization_id),
            amount_micros=payout.amount_micros,
            currency_code=payout.currency_code,
        )
        self._remote.call(self._stub.ReservePayout, request)

    @override
    def cancel(self, payout: Payout) -> None:
        self._remote.call(self._stub.CancelPayout, pb.CancelPayoutRequest(payout_id=str(payout.id)))

    @override
    def send(self, payout: Payout) -> None:
        request = pb.SendPayoutRequest(payout_id=str(payout.id), destination=bank_account_pb(payout.destination))
        self._remote.call(self._stub.SendPayout, request)
