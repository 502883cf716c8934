"""Earnings from the bus, and the job that compares them with the ledger."""

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
from adtesting.publisher import FakeLedger
from publisher_service.earnings import store
from publisher_service.payouts.service import PayoutService
from publisher_service.payouts.tasks import PayoutRetries


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
        return dict(store.totals_any_tenant(db, [UUID(publisher.id)]).get(UUID(publisher.id), {}))

    return totals


@pytest.fixture
def sync(jobs, identities):
    def run() -> JobResult:
        who = identities.service_headers("scheduler")
        return jobs.SyncPublisherBalances(pb.SyncPublisherBalancesRequest(), metadata=who)

    return run


def publish(bus, *events: Event) -> None:
    bus.publish("campaign", [event.SerializeToString() for event in events])


def test_each_spend_event_is_recorded_once(publisher, bus, earned) -> None:
    first, second = spent(publisher, 700), spent(publisher, 70, day="2025-03-02")
    without_publisher = spent(publisher, 7)
    without_publisher.spend_posted.ClearField("publisher")
    without_publisher.spend_posted.publisher_micros = 0
    campaign = Event(id=str(new_id()))
    campaign.campaign_changed.SetInParent()
    publish(bus, first, first, without_publisher, campaign, second)
    publish(bus, second, first, spent(publisher, 3, currency_code="EUR"))
    eventually(lambda: earned(publisher) == {"USD": 770, "EUR": 3})


def test_equal_balances_are_a_success(publisher, bus, sync, ledger, earned) -> None:
    publish(bus, spent(publisher, 700))
    ledger.credit(UUID(publisher.id), 700)
    eventually(lambda: earned(publisher) == {"USD": 700})
    result = sync()
    assert result.success
    assert (result.stats.total, result.stats.success_count) == (1, 1)


def test_spend_still_on_the_bus_is_not_a_difference(publisher, bus, sync, ledger) -> None:
    ledger.credit(UUID(publisher.id), 700)
    publish(bus, spent(publisher, 700))
    assert sync().success


def test_one_publishers_difference_does_not_use_up_the_wait_of_others(
    publisher, bus, sync, ledger, register, member, staff
) -> None:
    other = register(member(), staff)
    ledger.credit(UUID(other.id), 5)
    ledger.credit(UUID(publisher.id), 700)
    publish(bus, spent(publisher, 700))
    result = sync()
    assert (result.stats.success_count, result.stats.error_count) == (1, 1)


@pytest.mark.parametrize("credited", [600, 800])
def test_difference_is_counted_and_does_not_stop_other_publishers(
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


def test_ledger_outage_is_one_error_per_publisher(publisher, sync, ledger) -> None:
    ledger.is_down = True
    assert sync().stats.error_count == 1


def test_job_requires_the_scheduler(jobs, staff, refused) -> None:
    request = pb.SyncPublisherBalancesRequest()
    refused(ErrorReason.SERVICE_NOT_ALLOWED, jobs.SyncPublisherBalances, request, metadata=staff.headers())


def test_job_runs_once_at_a_time(publisher, db, sync) -> None:
    with db.advisory_lock("job:sync-publisher-balances") as is_locked:
        assert is_locked
        result = sync()
    assert not result.success
    assert result.stats.total == 0


def test_retries_send_payouts_approved_during_an_outage(
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
    retries.run_once()
    assert ledger.payouts[id] == "reserved"
    clock.at = clock.at.replace(second=10)
    retries.run_once()
    ledger.is_down = False
    retries.run_once()
    assert ledger.payouts[id] == "reserved", "a failed call waits before it is retried"
    clock.at = clock.at.replace(second=20)
    retries.run_once()
    assert ledger.payouts[id] == "sent"
    get = pb.GetPayoutRequest(payout_id=asked.id)
    assert payouts.GetPayout(get, metadata=owner.headers()).state == pb.Payout.PROCESSING


def test_payout_refused_on_retry_is_deleted_without_an_error(
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


def test_retries_continue_after_an_error(db, clock) -> None:
    looks: list[int] = []
    stop = threading.Event()

    class Broken(PayoutService):
        def pending(self, limit: int) -> list[UUID]:
            looks.append(limit)
            if len(looks) == 3:
                stop.set()
            raise RuntimeError("the first looks fail")

    PayoutRetries(db, Broken(db, FakeLedger(), clock, new_id), every_s=0.001).run(stop)
    assert len(looks) == 3


def test_difference_names_publisher_and_amounts(publisher, bus, sync, ledger, earned) -> None:
    publish(bus, spent(publisher, 700))
    ledger.credit(UUID(publisher.id), 800)
    eventually(lambda: earned(publisher) == {"USD": 700})
    (failure,) = sync().failures
    assert failure.item == f"publisher {publisher.id}"
    assert "earnings add up to 700 micros USD, the ledger has credited 800" in failure.reason


def test_purge_deletes_keys_and_events_after_30_days(
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
