"""An organization in debt cannot spend, and publishers' earnings from it are on hold."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
import redis
from adplatform.events.v1.events_pb2 import Event
from adplatform.payment.v1 import payment_pb2 as pb
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adtesting import Identities, eventually

UNIT = 1_000_000
IBAN = "DE89370400440532013000"


def info(error: pytest.ExceptionInfo[grpc.RpcError]) -> ErrorInfo:
    found = ErrorInfo()
    assert any(detail.Unpack(found) for detail in rpc_status.from_call(error.value).details)
    return found


@dataclass
class Publisher:
    """A publisher, and publisher-service's calls for it."""

    ledger: Any
    headers: list[tuple[str, str]]
    publisher_id: UUID = field(default_factory=uuid4)
    organization_id: UUID = field(default_factory=uuid4)

    @property
    def share(self) -> pb.PublisherShare:
        return pb.PublisherShare(
            organization_id=str(self.organization_id), publisher_id=str(self.publisher_id), zone_id=str(uuid4()),
            share_basis_points=7000,
        )  # fmt: skip

    def figures(self) -> tuple[int, int, int, int]:
        """Available, pending, paid, on hold; in units."""
        request = pb.ListPublisherBalancesRequest(publisher_ids=[str(self.publisher_id)])
        (one,) = self.ledger.ListPublisherBalances(request, metadata=self.headers).balances
        found = (one.available_micros, one.pending_micros, one.paid_micros, one.on_hold_micros)
        assert not any(micros % UNIT for micros in found)
        available, pending, paid, on_hold = (micros // UNIT for micros in found)
        return available, pending, paid, on_hold

    def reserve(self, units: int) -> str:
        payout_id = str(uuid4())
        request = pb.ReservePayoutRequest(
            payout_id=payout_id, publisher_id=str(self.publisher_id), organization_id=str(self.organization_id),
            amount_micros=units * UNIT, currency_code="USD",
        )  # fmt: skip
        self.ledger.ReservePayout(request, metadata=self.headers)
        return payout_id

    def send(self, payout_id: str) -> None:
        account = pb.BankAccount(account_holder_name="Ada Zone", iban=IBAN)
        self.ledger.SendPayout(pb.SendPayoutRequest(payout_id=payout_id, destination=account), metadata=self.headers)

    def cancel(self, payout_id: str) -> None:
        self.ledger.CancelPayout(pb.CancelPayoutRequest(payout_id=payout_id), metadata=self.headers)


@dataclass
class Advertiser:
    """An organization with a campaign, and campaign-service's calls for it."""

    customer: Any
    sandboxes: Any
    ledger: Any
    headers: list[tuple[str, str]]
    campaign_id: str = field(default_factory=lambda: str(uuid4()))

    @property
    def organization_id(self) -> str:
        return str(self.customer.organization_id)

    def _whose(self) -> dict[str, str]:
        return {"organization_id": self.organization_id, "campaign_id": self.campaign_id, "currency_code": "USD"}

    def pay(self, units: int) -> str:
        payment_id = str(self.customer.create(units * UNIT).payment.id)
        self.sandboxes.pay(payment_id)
        eventually(lambda: self.customer.get(payment_id).state == pb.Payment.SUCCEEDED)
        return payment_id

    def loses(self, payment_id: str) -> None:
        body = {"payment_id": payment_id, "outcome": "lose"}
        self.sandboxes.stripe.post("/sandbox/dispute", json=body).raise_for_status()
        eventually(self.debt)

    def hold(self, units: int, key: str = "start") -> int:
        request = pb.HoldBudgetRequest(**self._whose(), amount_micros=units * UNIT, idempotency_key=key)
        return int(self.ledger.HoldBudget(request, metadata=self.headers).held_micros)

    def release(self) -> None:
        request = pb.ReleaseHoldRequest(**self._whose(), idempotency_key=str(uuid4()))
        self.ledger.ReleaseHold(request, metadata=self.headers)

    def spend(self, units: int, publisher: Publisher) -> None:
        item = pb.SpendItem(
            **self._whose(), amount_micros=units * UNIT, idempotency_key=str(uuid4()), publisher=publisher.share
        )
        (result,) = self.ledger.PostSpend(pb.PostSpendRequest(items=[item]), metadata=self.headers).results
        assert result.posted_micros == units * UNIT

    def debt(self) -> int:
        return int(self.customer.balance().debt_micros) // UNIT


@pytest.fixture
def new_publisher(ledger: Any, identities: Identities) -> Callable[[], Publisher]:
    return lambda: Publisher(ledger, identities.service_headers("publisher-service"))


@pytest.fixture
def new_advertiser(new_customer: Any, sandboxes: Any, ledger: Any, identities: Identities, gateway: Any) -> Any:
    headers = identities.service_headers("campaign-service")
    return lambda: Advertiser(new_customer(), sandboxes, ledger, headers)


def becomes(publisher: Publisher, *figures: int) -> None:
    eventually(lambda: publisher.figures() == figures)


def test_organization_in_debt_cannot_hold_until_it_has_paid(new_advertiser: Any, sound: Any) -> None:
    advertiser = new_advertiser()
    payment_id = advertiser.pay(50)
    assert advertiser.hold(50) == advertiser.hold(0, "ask") == 50 * UNIT
    advertiser.loses(payment_id)
    assert advertiser.debt() == 50
    for amount, key in ((1, "another"), (50, "start"), (0, "ask")):
        with pytest.raises(grpc.RpcError) as refused:
            advertiser.hold(amount, key)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        found = info(refused)
        assert (found.reason, dict(found.metadata)) == (
            "ORGANIZATION_IN_DEBT",
            {"debtMicros": str(50 * UNIT), "currencyCode": "USD"},
        )
    advertiser.release()
    assert advertiser.debt() == 0, "what was held has paid it"
    assert advertiser.hold(0, "ask") == 0
    with pytest.raises(grpc.RpcError) as refused:
        advertiser.hold(1, "another")
    assert info(refused).reason == "INSUFFICIENT_FUNDS"
    assert sound()


def test_earnings_from_a_debtor_are_on_hold_until_the_debt_is_paid(
    new_advertiser: Any, new_publisher: Any, sound: Any
) -> None:
    advertiser, publisher = new_advertiser(), new_publisher()
    payment_id = advertiser.pay(50)
    advertiser.hold(50)
    advertiser.loses(payment_id)
    advertiser.spend(50, publisher)
    with pytest.raises(grpc.RpcError) as refused:
        publisher.reserve(1)
    assert info(refused).reason == "INSUFFICIENT_FUNDS"
    assert publisher.figures() == (0, 0, 0, 35)
    advertiser.pay(30)
    # 20 are still owed.
    becomes(publisher, 15, 0, 0, 20)
    advertiser.pay(30)
    becomes(publisher, 35, 0, 0, 0)
    publisher.reserve(35)
    assert sound()


def test_unpaid_earnings_from_before_a_debt_are_held_up_to_the_debt(
    new_advertiser: Any, new_publisher: Any, sound: Any
) -> None:
    advertiser, first, second = new_advertiser(), new_publisher(), new_publisher()
    payment_id = advertiser.pay(70)
    advertiser.pay(130)
    advertiser.hold(200)
    advertiser.spend(100, first)
    advertiser.spend(100, second)
    advertiser.loses(payment_id)
    # 70 are owed and 140 were earned: half of each.
    becomes(first, 35, 0, 0, 35)
    becomes(second, 35, 0, 0, 35)
    advertiser.pay(70)
    becomes(first, 70, 0, 0, 0)
    becomes(second, 70, 0, 0, 0)
    assert sound()


def test_earnings_from_other_organizations_are_not_held(new_advertiser: Any, new_publisher: Any, sound: Any) -> None:
    bad, good, publisher = new_advertiser(), new_advertiser(), new_publisher()
    payment_id = bad.pay(100)
    bad.hold(100)
    bad.spend(100, publisher)
    publisher.reserve(70)
    good.pay(100)
    good.hold(100)
    good.spend(50, publisher)
    bad.loses(payment_id)
    becomes(publisher, 35, 70, 0, 0)
    good.spend(50, publisher)
    becomes(publisher, 70, 70, 0, 0)
    assert sound()


def test_earnings_are_held_per_debtor(new_advertiser: Any, new_publisher: Any, sound: Any) -> None:
    advertisers, publisher = [new_advertiser() for _ in range(2)], new_publisher()
    payments = [one.pay(100) for one in advertisers]
    for one, units in zip(advertisers, (30, 100), strict=True):
        one.hold(100)
        one.spend(units, publisher)
    for number, expected in ((1, (21, 0, 0, 70)), (0, (0, 0, 0, 91))):
        advertisers[number].loses(payments[number])
        becomes(publisher, *expected)
    advertisers[0].release()
    # Its debt is 30 now, and 21 were earned from it.
    eventually(lambda: advertisers[0].debt() == 30)
    becomes(publisher, 0, 0, 0, 91)
    advertisers[0].pay(30)
    becomes(publisher, 21, 0, 0, 70)
    assert sound()


def test_payout_reserved_before_the_debt_is_not_sent(new_advertiser: Any, new_publisher: Any, sound: Any) -> None:
    advertiser, publisher = new_advertiser(), new_publisher()
    payment_id = advertiser.pay(50)
    advertiser.hold(50)
    advertiser.spend(50, publisher)
    payout_id = publisher.reserve(30)
    advertiser.loses(payment_id)
    becomes(publisher, 0, 30, 0, 5)
    with pytest.raises(grpc.RpcError) as refused:
        publisher.send(payout_id)
    found = info(refused)
    assert (found.reason, found.metadata["onHoldMicros"]) == ("EARNINGS_ON_HOLD", str(30 * UNIT))
    publisher.cancel(payout_id)
    becomes(publisher, 0, 0, 0, 35)
    advertiser.pay(50)
    becomes(publisher, 35, 0, 0, 0)
    publisher.send(publisher.reserve(35))
    eventually(lambda: publisher.figures() == (0, 0, 35, 0))
    assert sound()


def test_payout_of_earnings_that_are_not_on_hold_is_sent(new_advertiser: Any, new_publisher: Any, sound: Any) -> None:
    bad, good, publisher = new_advertiser(), new_advertiser(), new_publisher()
    good.pay(100)
    good.hold(100)
    good.spend(100, publisher)
    payment_id = bad.pay(50)
    bad.hold(50)
    bad.spend(50, publisher)
    payout_id = publisher.reserve(70)
    bad.loses(payment_id)
    becomes(publisher, 0, 70, 0, 35)
    publisher.send(payout_id)
    eventually(lambda: publisher.figures() == (0, 0, 70, 35))
    assert sound()


def test_debt_and_its_repayment_are_announced(new_advertiser: Any, service_redis_url: str) -> None:
    advertiser = new_advertiser()
    payment_id = advertiser.pay(50)
    advertiser.hold(50)
    advertiser.loses(payment_id)
    client = redis.Redis.from_url(service_redis_url)

    def heard() -> list[int]:
        events = [Event.FromString(fields[b"m"]) for _, fields in client.xrange("bus:payment")]
        own = [one.debt_changed for one in events if one.organization_id == advertiser.organization_id]
        return [one.debt_micros for one in own if one.currency_code]

    eventually(lambda: heard() == [50 * UNIT])
    advertiser.release()
    eventually(lambda: heard() == [50 * UNIT, 0])
    client.close()
