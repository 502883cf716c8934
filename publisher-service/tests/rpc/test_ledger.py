"""The contract of the ledger, for the fake and for the client, which calls a gRPC server on a fake."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.payment.v1 import payment_pb2 as pb

from adlib.errors import RemoteError, Unavailable
from adlib.rpc import Call, Remote, ServiceProcess
from adtesting import FakeAccess, FakeAuditTrail, Identities, running
from adtesting.publisher import FakeLedger
from publisher_service.clients.payment import Balance
from publisher_service.payouts.clients.payment import Ledger, RemoteLedger
from publisher_service.payouts.model import BankAccount, NewPayout, Payout

AT = datetime(2025, 3, 1, tzinfo=UTC)
OWNER = uuid4()


class LedgerServicer:
    """A server of payment-service on a fake; checks the destination of payouts."""

    def __init__(self, ledger: FakeLedger, payout: Payout) -> None:
        self._ledger = ledger
        self._payout = payout

    def __getattr__(self, name: str) -> object:
        if name[0] == "_":
            raise AttributeError(name)
        return lambda *_: pytest.fail(f"{name} was called")

    def ListPublisherBalances(
        self, request: pb.ListPublisherBalancesRequest, _call: Call
    ) -> pb.ListPublisherBalancesResponse:
        found = self._ledger.balances([UUID(id) for id in request.publisher_ids])
        rows = [
            pb.PublisherBalance(
                publisher_id=str(row.publisher_id),
                currency_code=row.currency_code,
                pending_micros=row.pending_micros,
                available_micros=row.available_micros,
                paid_micros=row.paid_micros,
                on_hold_micros=row.on_hold_micros,
            )
            for rows in found.values()
            for row in rows
        ]
        return pb.ListPublisherBalancesResponse(balances=rows)

    def ReservePayout(self, request: pb.ReservePayoutRequest, _call: Call) -> pb.ReservePayoutResponse:
        assert request.organization_id == str(self._payout.organization_id)
        assert request.publisher_id == str(self._payout.publisher_id)
        asked = replace(self._payout, id=UUID(request.payout_id), amount_micros=request.amount_micros)
        self._ledger.reserve(asked)
        return pb.ReservePayoutResponse()

    def CancelPayout(self, request: pb.CancelPayoutRequest, _call: Call) -> pb.CancelPayoutResponse:
        self._ledger.cancel(replace(self._payout, id=UUID(request.payout_id)))
        return pb.CancelPayoutResponse()

    def SendPayout(self, request: pb.SendPayoutRequest, _call: Call) -> pb.SendPayoutResponse:
        account = request.destination.united_states
        assert account.routing_number == self._payout.destination.routing_number
        assert account.account_number == self._payout.destination.account_number
        self._ledger.send(replace(self._payout, id=UUID(request.payout_id)))
        return pb.SendPayoutResponse()


@pytest.fixture
def payout() -> Payout:
    account = BankAccount("Ada Lovelace", routing_number="021000021", account_number="12345678")
    return Payout.requested(uuid4(), uuid4(), uuid4(), NewPayout(OWNER, 40_000_000, "USD", account), AT)


@pytest.fixture
def fake() -> FakeLedger:
    made = FakeLedger()
    made.credit(OWNER, 100_000_000)
    return made


@pytest.fixture(params=["fake", "remote"])
def ledger(request: pytest.FixtureRequest, fake: FakeLedger, payout: Payout) -> Iterator[Ledger]:
    if request.param == "fake":
        yield fake
        return
    identities = Identities("payment-service")
    us = identities.service("publisher-service")
    service = pb.DESCRIPTOR.services_by_name["LedgerService"]
    worker = ServiceProcess(
        {service: LedgerServicer(fake, payout)}, identities.verifier(), FakeAccess(), FakeAuditTrail()
    )
    with running(worker) as server:
        remote = Remote("payment-service", f"127.0.0.1:{server.port}", us)
        yield RemoteLedger(remote)
        remote.close()


def test_reserve_and_send_are_idempotent(ledger: Ledger, payout: Payout, fake: FakeLedger) -> None:
    for _ in range(2):
        ledger.reserve(payout)
        balance = Balance(OWNER, "USD", pending_micros=40_000_000, available_micros=60_000_000)
        assert ledger.balances([OWNER, uuid4()]) == {OWNER: [balance]}
    for _ in range(2):
        ledger.send(payout)
    assert fake.payouts == {payout.id: "sent"}


def test_cancel_returns_the_amount_once(ledger: Ledger, payout: Payout) -> None:
    ledger.reserve(payout)
    for _ in range(2):
        ledger.cancel(payout)
        assert ledger.balances([OWNER]) == {OWNER: [Balance(OWNER, "USD", available_micros=100_000_000)]}


def test_earnings_on_hold_cannot_be_reserved(ledger: Ledger, payout: Payout, fake: FakeLedger) -> None:
    fake.hold_earnings(OWNER, 70_000_000)
    (balance,) = ledger.balances([OWNER])[OWNER]
    assert balance == Balance(OWNER, "USD", available_micros=30_000_000, on_hold_micros=70_000_000)
    assert balance.earned_micros == 100_000_000, "the figure that the job compares earnings with"
    with pytest.raises(RemoteError) as refused:
        ledger.reserve(payout)
    assert refused.value.reason == ErrorReason.INSUFFICIENT_FUNDS


def test_reserve_above_the_available_balance_is_refused_with_both_amounts(ledger: Ledger, payout: Payout) -> None:
    with pytest.raises(RemoteError) as refused:
        ledger.reserve(replace(payout, amount_micros=100_000_001))
    assert refused.value.reason == ErrorReason.INSUFFICIENT_FUNDS
    assert refused.value.metadata == {"availableMicros": "100000000", "requiredMicros": "100000001"}


def test_ledger_outage_is_unavailable(ledger: Ledger, payout: Payout, fake: FakeLedger) -> None:
    fake.is_down = True
    for call in (ledger.reserve, ledger.send, ledger.cancel):
        with pytest.raises(Unavailable):
            call(payout)
    with pytest.raises(Unavailable):
        ledger.balances([OWNER])
