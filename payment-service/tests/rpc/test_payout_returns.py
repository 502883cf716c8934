"""Payouts that are returned, in whole or in part."""

from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest
import redis
from adplatform.events.v1.events_pb2 import Event, PayoutSettled
from adplatform.payment.v1 import payment_pb2 as pb

from adlib.clock import SystemClock
from adlib.ids import new_id
from adlib.outbox import Outbox
from adtesting import eventually
from payment_service.debts.service import DebtService
from payment_service.ledger import store
from payment_service.ledger.model import Account, Kind, Transfer, payable
from payment_service.payouts.service import PayoutService

UNIT = 1_000_000
IBAN = "DE89370400440532013000"


def _status(sandboxes, number: str) -> str:
    return str(sandboxes.wise.get(f"/sandbox/transfers/{number}").json().get("status"))


@dataclass
class Publisher:
    """A publisher who has earned 100.00, and publisher-service's calls for it."""

    ledger: object
    headers: list[tuple[str, str]]
    publisher_id: UUID
    organization_id: UUID

    def pay_out(self, payout_id: str) -> None:
        ids = {"publisher_id": str(self.publisher_id), "organization_id": str(self.organization_id)}
        request = pb.ReservePayoutRequest(
            payout_id=payout_id, amount_micros=100 * UNIT, currency_code="USD", **ids
        )  # fmt: skip
        self.ledger.ReservePayout(request, metadata=self.headers)
        account = pb.BankAccount(account_holder_name="Ada Zone", iban=IBAN)
        self.ledger.SendPayout(pb.SendPayoutRequest(payout_id=payout_id, destination=account), metadata=self.headers)

    def figures(self) -> tuple[int, int, int]:
        """Available, pending, paid."""
        request = pb.ListPublisherBalancesRequest(publisher_ids=[str(self.publisher_id)])
        (one,) = self.ledger.ListPublisherBalances(request, metadata=self.headers).balances
        return one.available_micros, one.pending_micros, one.paid_micros


@pytest.fixture
def publisher(ledger, identities, db, gateway) -> Publisher:
    made = Publisher(ledger, identities.service_headers("publisher-service"), uuid4(), uuid4())
    clearing = Account(Kind.PROVIDER_CLEARING, "USD", None, "STRIPE")
    earned = payable(made.organization_id, made.publisher_id, "USD")
    with db.transaction() as tx:
        store.lock(tx, [clearing, earned])
        store.post(tx, [Transfer("PUBLISHER_SHARE", clearing, earned, 100 * UNIT, uuid4(), f"e:{uuid4()}")], new_id)
    return made


@pytest.fixture
def reasons(service_redis_url: str):
    """The failure reasons that are published to publisher-service, in order."""
    with redis.Redis.from_url(service_redis_url) as client:

        def published(payout_id: str) -> list[str]:
            events = [Event.FromString(fields[b"m"]).payout_settled for _, fields in client.xrange("bus:payment")]
            mine = [one for one in events if one.payout_id == payout_id]
            return [one.reason for one in mine if one.outcome == PayoutSettled.FAILED]

        yield published


@pytest.mark.parametrize("how", ["webhook", "job"])
def test_partly_returned_payout_credits_the_publisher_as_each_part_returns(
    publisher, sandboxes, gateway, bounce, suspended, reasons, settle, sound, how: str
) -> None:
    payout_id, before = str(uuid4()), suspended()
    publisher.pay_out(payout_id)
    eventually(lambda: publisher.figures() == (0, 0, 100 * UNIT))
    gateway.open = how == "webhook"
    bounce(payout_id, returned="75.00")
    eventually(lambda: _status(sandboxes, payout_id) == "funds_refunded")

    def becomes(*figures: int) -> None:
        if how == "job":
            eventually(lambda: settle() and publisher.figures() == figures, within_s=60)
        eventually(lambda: publisher.figures() == figures)

    becomes(75 * UNIT, 0, 0)
    assert suspended() == before + 25 * UNIT
    eventually(lambda: reasons(payout_id) == ["the transfer was refunded; 75 of 100 USD came back"])
    assert sound()
    sandboxes.wise.post(f"/sandbox/transfers/{payout_id}/return", json={"amount": 25}).raise_for_status()
    becomes(100 * UNIT, 0, 0)
    assert suspended() == before
    assert sound()


def test_paid_payout_is_polled_until_it_cannot_be_returned(
    publisher, sandboxes, gateway, bounce, config, db, sql, sound
) -> None:
    payout_id = str(uuid4())
    publisher.pay_out(payout_id)
    eventually(lambda: publisher.figures() == (0, 0, 100 * UNIT))
    gateway.open = False
    bounce(payout_id)
    eventually(lambda: _status(sandboxes, payout_id) == "funds_refunded")
    wise = config.providers.by_name["WISE"].provider(db, SystemClock())
    outbox = Outbox("payment", SystemClock())
    payouts = PayoutService(db, outbox, wise.payouts, DebtService(db, outbox, new_id), SystemClock(), new_id)
    assert payouts.unsettled(10) == [], "Wise's events come first"
    for hours, expected in ((7, [UUID(payout_id)]), (61 * 24, [])):
        age = "UPDATE payouts SET updated_at = now() - make_interval(hours => %s)"
        sql.execute(age, [hours])
        assert payouts.unsettled(10) == expected
    payouts.check(UUID(payout_id))
    assert publisher.figures() == (100 * UNIT, 0, 0)
    assert sound()
