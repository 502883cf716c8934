"""Earnings from the bus, and the job that holds them against the ledger."""

import threading
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.events.v1.events_pb2 import Event
from adplatform.jobs.v1.jobs_pb2 import JobResult
from adplatform.publisher.v1 import publisher_pb2 as pb
from sqlalchemy import text

from adlib.clock import FixedClock
from adlib.db import Database, Query
from adlib.ids import new_id
from adtesting import eventually
from publisher_service.clients.payment import FakeLedger
from publisher_service.earnings import store
from publisher_service.payouts.retries import PayoutRetries
from publisher_service.payouts.service import PayoutService


@pytest.fixture
def publisher(register, member, staff) -> pb.Publisher:
    return register(member(), staff)


def spent(publisher: pb.Publisher, publisher_micros: int, **changes: object) -> Event:
    event = Event(id=str(new_id()))
    spend = event.spend_posted
    spend.campaign_id = str(uuid4())
    spend.day = "2025-03-01"
    spend.amount_micros = publisher_micros * 10 // 7
    spend.currency_code = "USD"
    spend.publisher_micros = publisher_micros
    spend.publisher.organization_id = publisher.organization_id
    spend.publisher.publisher_id = publisher.id
    spend.publisher.zone_id = str(UUID(int=5))
    for name, value in changes.items():
        setattr(spend, name, value)
    return event


@pytest.fixture
def earned(db):
    def totals(publisher: pb.Publisher) -> dict[str, int]:
        return dict(store.staff_totals(db, [UUID(publisher.id)]).get(UUID(publisher.id), {}))

    return totals


@pytest.fixture
def sync(jobs, identities):
    def run() -> JobResult:
        who = identities.service_headers("scheduler")
        return jobs.SyncPublisherBalances(pb.SyncPublisherBalancesRequest(), metadata=who)

    return run


def publish(bus, *events: Event) -> None:
    bus.publish("campaign", [event.SerializeToString() for event in events])


def test_every_event_is_earned_once(publisher, bus, earned) -> None:
    first, second = spent(publisher, 700), spent(publisher, 70, day="2025-03-02")
    nobody = spent(publisher, 7)
    nobody.spend_posted.ClearField("publisher")
    nobody.spend_posted.publisher_micros = 0
    campaign = Event(id=str(new_id()))
    campaign.campaign_changed.SetInParent()
    publish(bus, first, first, nobody, campaign, second)
    publish(bus, second, first, spent(publisher, 3, currency_code="EUR"))
    eventually(lambda: earned(publisher) == {"USD": 770, "EUR": 3})


def test_equal_books_are_no_error(publisher, bus, sync, ledger, earned) -> None:
    publish(bus, spent(publisher, 700))
    ledger.credit(UUID(publisher.id), 700)
    eventually(lambda: earned(publisher) == {"USD": 700})
    result = sync()
    assert result.success
    assert (result.stats.total, result.stats.success_count) == (1, 1)


def test_spend_that_is_still_on_the_bus_is_no_error(publisher, bus, sync, ledger) -> None:
    ledger.credit(UUID(publisher.id), 700)
    publish(bus, spent(publisher, 700))
    assert sync().success


def test_a_publisher_that_differs_uses_up_nobody_elses_patience(
    publisher, bus, sync, ledger, register, member, staff
) -> None:
    other = register(member(), staff)
    ledger.credit(UUID(other.id), 5)
    ledger.credit(UUID(publisher.id), 700)
    publish(bus, spent(publisher, 700))
    result = sync()
    assert (result.stats.success_count, result.stats.error_count) == (1, 1)


@pytest.mark.parametrize("credited", [600, 800])
def test_a_difference_is_counted_and_stops_nobody_else(
    credited, publisher, bus, sync, ledger, earned, register, member, staff
) -> None:
    register(member(), staff)
    publish(bus, spent(publisher, 700))
    ledger.credit(UUID(publisher.id), credited)
    eventually(lambda: earned(publisher) == {"USD": 700})
    result = sync()
    assert not result.success
    assert (result.stats.total, result.stats.success_count, result.stats.error_count) == (2, 1, 1)


def test_pending_publishers_are_not_compared(register, member, sync, ledger) -> None:
    ledger.credit(UUID(register(member()).id), 700)
    assert sync().stats.total == 0


def test_a_ledger_that_is_down_is_an_error_a_publisher(publisher, sync, ledger) -> None:
    ledger.is_down = True
    assert sync().stats.error_count == 1


def test_the_job_is_for_the_scheduler(jobs, staff, refused) -> None:
    request = pb.SyncPublisherBalancesRequest()
    refused(ErrorReason.SERVICE_NOT_ALLOWED, jobs.SyncPublisherBalances, request, metadata=staff.headers())


def test_one_runner_at_a_time(publisher, db, sync) -> None:
    with db.advisory_lock("job:sync-publisher-balances") as alone:
        assert alone
        result = sync()
    assert not result.success
    assert result.stats.total == 0


def test_retries_send_what_was_approved_while_payment_service_was_down(
    register, member, staff, ledger, payouts, asking, db, clock
) -> None:
    owner = member()
    ours = register(owner, staff)
    ledger.credit(UUID(ours.id), 100_000_000)
    asked = payouts.RequestPayout(asking(ours), metadata=owner.headers())
    ledger.is_down = True
    payouts.ApprovePayout(pb.ApprovePayoutRequest(payout_id=asked.id), metadata=staff.headers())
    retries = PayoutRetries(db, PayoutService(db, ledger, clock, new_id))
    id = UUID(asked.id)
    retries.work_once()
    assert ledger.payouts[id] == "reserved"
    clock.at = clock.at.replace(second=10)
    retries.work_once()
    ledger.is_down = False
    retries.work_once()
    assert ledger.payouts[id] == "reserved", "a failed try waits before the next"
    clock.at = clock.at.replace(second=20)
    retries.work_once()
    assert ledger.payouts[id] == "sent"
    get = pb.GetPayoutRequest(payout_id=asked.id)
    assert payouts.GetPayout(get, metadata=owner.headers()).state == pb.Payout.PROCESSING


def test_a_request_that_is_refused_later_is_gone_and_no_error(
    publisher, register, member, staff, ledger, payouts, asking, clock, sync, refused
) -> None:
    owner = member()
    ours = register(owner, staff)
    ledger.is_down = True
    refused(ErrorReason.UNAVAILABLE, payouts.RequestPayout, asking(ours), metadata=owner.headers())
    ledger.is_down = False
    clock.at = clock.at.replace(hour=13)
    result = sync()
    assert result.success
    assert result.stats.total == 3
    assert sync().stats.total == 2


def test_retries_look_again_whatever_goes_wrong(db, clock) -> None:
    looks: list[int] = []
    stop = threading.Event()

    class Broken(PayoutService):
        def left_over(self, limit: int) -> list[UUID]:
            looks.append(limit)
            if len(looks) == 3:
                stop.set()
            raise RuntimeError("the first looks fail")

    PayoutRetries(db, Broken(db, FakeLedger(), clock, new_id), every_s=0.001).run(stop)
    assert len(looks) == 3


def test_a_difference_names_the_publisher_and_the_amounts(publisher, bus, sync, ledger, earned) -> None:
    publish(bus, spent(publisher, 700))
    ledger.credit(UUID(publisher.id), 800)
    eventually(lambda: earned(publisher) == {"USD": 700})
    (failure,) = sync().failures
    assert failure.item == f"publisher {publisher.id}"
    assert "earnings add up to 700 micros USD, the ledger has credited 800" in failure.reason


def test_keys_and_events_are_purged_after_30_days(
    jobs, identities, db: Database, clock: FixedClock, staff, refused
) -> None:
    def left(table: str) -> int:
        row = db.one(Query(text(f"SELECT count(*) AS number FROM {table}")))  # noqa: S608 - the test's own
        return int(row.number) if row else 0

    clock.at = clock.now() + timedelta(days=365 * 10)
    with db.transaction() as tx:
        for days in (31, 29):
            at = clock.now() - timedelta(days=days)
            tx.execute(_ADD_EVENT, at=at)
            tx.execute(_ADD_KEY, at=at)
    request = pb.PurgeExpiredRequest()
    refused(ErrorReason.SERVICE_NOT_ALLOWED, jobs.PurgeExpired, request, metadata=staff.headers())
    result = jobs.PurgeExpired(request, metadata=identities.service_headers("scheduler"))
    assert (result.success, result.stats.total) == (True, 2)
    assert result.message.endswith("rows deleted: 1 idempotency_keys, 1 inbox")
    assert (left("inbox"), left("idempotency_keys")) == (1, 1)


_ADD_EVENT = Query(text("INSERT INTO inbox (consumer, event_id, processed_at) VALUES ('c', uuidv7(), :at)"))
_ADD_KEY = Query(
    text(
        "INSERT INTO idempotency_keys (organization_id, method, key, request_hash, created_at)"
        " VALUES (uuidv7(), 'm', 'k', '', :at)"
    )
)
