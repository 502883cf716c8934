"""Items that keep failing are retried a limited number of times, then quarantined for an operator."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from adplatform.jobs.v1.jobs_pb2 import JobResult
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from adlib.clock import FixedClock
from adlib.db import Database, migrate
from adlib.errors import DeadlineExceeded, Internal, NotFound, Unavailable
from adlib.ids import new_id
from adlib.outbox import Outbox
from adlib.paging import Page
from adtesting.migrations import rolled_back
from adtesting.pytest_servers import FreshDatabase
from payment_service.__main__ import MIGRATIONS
from payment_service.features import PaymentFeatures
from payment_service.payments.model import Payment, Report, State
from payment_service.providers.model import ProviderEvent, ProviderRejected
from payment_service.providers.service import Providers
from payment_service.quarantine.model import MAX_FAILURES, FailingItem, ItemKey, ItemNotFound, Kind
from payment_service.quarantine.service import QuarantineService
from payment_service.reconciliation import jobs
from payment_service.webhooks.service import WebhookService

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Dozens of failures are expected here, and formatting a traceback takes 0.25 s."""
    with capture_logs():
        yield


@dataclass
class Provider:
    """Reports every payment as PENDING and parses events to no updates, unless it is set to raise an error."""

    error: Exception | None = None
    is_polled = True
    accepts_transfers = False

    def _answer(self) -> None:
        if self.error:
            raise self.error

    def look_up(self, payment: Payment) -> Report:
        self._answer()
        return Report(payment.external_id or "", State.PENDING)

    close = look_up

    def parse(self, body: bytes) -> ProviderEvent:
        self._answer()
        return ProviderEvent(body.decode(), "x")

    def missed_events(self, _since: datetime) -> list[ProviderEvent]:
        return []


class Idle:
    """A source without items."""

    def unsettled(self, _limit: int) -> list[UUID]:
        return []

    unsent = expired = followed = unsettled


@dataclass
class Bank(Idle):
    """A source with one payout, whose attempt fails."""

    error: Exception = field(default_factory=lambda: Unavailable("the balance is short"))

    def unsent(self, _limit: int) -> list[UUID]:
        return [UUID(int=7)]

    def attempt(self, _payout_id: UUID) -> None:
        raise self.error


@dataclass
class Reconciliation:
    """The job on real payments and events, with a clock that the test moves."""

    db: Database
    clock: FixedClock
    provider: Provider
    providers: dict[str, Any]
    payouts: Any = field(default_factory=Idle)

    @property
    def quarantine(self) -> QuarantineService:
        return QuarantineService(self.db, self.providers, self.clock, new_id)

    def run(self) -> JobResult:
        """Runs the job as if five minutes had passed."""
        self.clock.at += timedelta(minutes=5)
        unused: Any = None
        providers = Providers(self.providers, {})
        features = PaymentFeatures.build(self.db, Outbox("payment", self.clock), providers, self.clock, new_id)
        webhooks = WebhookService(self.db, self.providers, self.providers, unused, self.clock)
        sources = [
            partial(jobs.missed_events, webhooks),
            partial(jobs.open_payments, features.poll),
            partial(jobs.unbooked_events, webhooks),
            partial(jobs.sent_payouts, self.payouts),
            partial(jobs.unsent_payouts, self.payouts),
        ]
        return jobs.ReconciliationJob(self.db, self.quarantine, sources).run()

    def waiting(self) -> list[FailingItem]:
        return list(self.quarantine.list_page(Page(50)).rows)


@pytest.fixture
def url(own_database_url: str) -> str:
    return own_database_url


@pytest.fixture
def sql(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def reconciliation(url: str) -> Iterator[Reconciliation]:
    database, provider = Database(url), Provider()
    yield Reconciliation(database, FixedClock(NOW), provider, {"STRIPE": provider})
    database.close()


@pytest.fixture
def event(sql: psycopg.Connection) -> str:
    """A stored event that could not be booked."""
    sql.execute(
        "INSERT INTO webhook_events (provider, event_id, kind, payload, received_at)"
        " VALUES ('STRIPE', 'evt_bad', 'x', 'evt_bad', %s)",
        [NOW],
    )
    return "evt_bad"


@pytest.fixture
def payment(sql: psycopg.Connection) -> str:
    """A payment that is open at Stripe."""
    payment_id = new_id()
    sql.execute(
        "INSERT INTO payments (id, organization_id, provider, state, amount_micros, currency_code, external_id,"
        " created_at, updated_at, checked_at) VALUES (%s, %s, 'STRIPE', 'PENDING', 5000000, 'USD', 'pi_1', %s, %s, %s)",
        [payment_id, uuid4(), NOW, NOW, NOW],
    )
    return str(payment_id)


def quarantined(kind: str) -> float:
    return REGISTRY.get_sample_value("settlement_quarantined_total", {"kind": kind}) or 0


def test_failing_event_is_quarantined_after_five_failures_and_booked_by_a_retry(
    reconciliation: Reconciliation, event: str, sql: psycopg.Connection
) -> None:
    reconciliation.provider.error, before = KeyError("amount"), quarantined("EVENT")
    for run in range(1, MAX_FAILURES + 1):
        result = reconciliation.run()
        assert (result.success, result.stats.error_count) == (False, 1)
        assert [(one.item, one.reason) for one in result.failures] == [("book STRIPE evt_bad", "KeyError: 'amount'")]
        assert result.stats.quarantined_count == (run == MAX_FAILURES)
    assert quarantined("EVENT") - before == 1
    for _ in range(2):
        result = reconciliation.run()
        assert (result.success, result.stats.quarantined_count) == (True, 1)
    (item,) = reconciliation.waiting()
    assert item.key == ItemKey(Kind.EVENT, event, "STRIPE")
    assert (item.failure_count, item.last_error) == (5, "KeyError: 'amount'")
    assert item.first_failed_at < item.last_failed_at == item.quarantined_at

    reconciliation.provider.error = None
    reconciliation.quarantine.retry(item.id)
    result = reconciliation.run()
    assert (result.success, result.stats.quarantined_count) == (True, 0)
    assert sql.execute("SELECT booked_at IS NOT NULL FROM webhook_events").fetchone() == (True,)
    assert sql.execute("SELECT count(*) FROM failing_items").fetchone() == (0,)
    with pytest.raises(ItemNotFound):
        reconciliation.quarantine.retry(item.id)


def test_retried_item_is_quarantined_after_five_more_failures(reconciliation: Reconciliation, event: str) -> None:
    reconciliation.provider.error = Internal()
    for _ in range(MAX_FAILURES):
        reconciliation.run()
    reconciliation.quarantine.retry(reconciliation.waiting()[0].id)
    for _ in range(MAX_FAILURES - 1):
        assert reconciliation.run().stats.quarantined_count == 0
    assert reconciliation.run().stats.quarantined_count == 1


def test_permanent_fault_is_quarantined_at_once(reconciliation: Reconciliation, event: str) -> None:
    reconciliation.provider.error = NotFound("there is no such thing")
    first = reconciliation.run()
    assert (first.success, first.stats.quarantined_count) == (False, 1)
    assert reconciliation.run().success


@pytest.mark.parametrize("error", [Unavailable("down"), DeadlineExceeded("slow")])
def test_item_is_quarantined_after_an_outage_of_three_days(
    reconciliation: Reconciliation, payment: str, error: Exception
) -> None:
    reconciliation.provider.error = error
    for _ in range(2 * MAX_FAILURES):
        assert reconciliation.run().stats.quarantined_count == 0
    reconciliation.clock.at = NOW + timedelta(days=2, hours=23)
    assert reconciliation.run().stats.quarantined_count == 0
    reconciliation.clock.at = NOW + timedelta(days=3)
    assert reconciliation.run().stats.quarantined_count == 1
    assert reconciliation.run().success


def test_success_deletes_the_record_of_failures(
    reconciliation: Reconciliation, payment: str, sql: psycopg.Connection
) -> None:
    for _ in range(2):
        reconciliation.provider.error = ProviderRejected("no")
        for _ in range(MAX_FAILURES - 1):
            assert not reconciliation.run().success
        reconciliation.provider.error = None
        assert reconciliation.run().success
        assert sql.execute("SELECT count(*) FROM failing_items").fetchone() == (0,)


def test_payment_of_a_removed_provider_is_quarantined_until_the_provider_is_configured_again(
    reconciliation: Reconciliation, payment: str, sql: psycopg.Connection
) -> None:
    sql.execute("UPDATE payments SET expires_at = %s", [NOW])
    provider = reconciliation.providers.pop("STRIPE")
    result = reconciliation.run()
    (failure,) = result.failures
    assert failure.item == f"payment {payment}"
    assert "provider STRIPE cannot be paid with here" in failure.reason
    for _ in range(2):
        result = reconciliation.run()
        assert (result.success, result.stats.total, result.stats.quarantined_count) == (True, 0, 1)
    sql.execute("UPDATE payments SET expires_at = NULL")
    reconciliation.providers["STRIPE"] = provider
    result = reconciliation.run()
    assert (result.success, result.stats.quarantined_count) == (True, 0)
    assert sql.execute("SELECT checked_at FROM payments").fetchone() == (reconciliation.clock.at,)


@pytest.mark.parametrize("ended", ["state = 'SUCCEEDED'", "is_closed = TRUE"])
def test_ended_payment_leaves_quarantine(
    reconciliation: Reconciliation, payment: str, sql: psycopg.Connection, ended: str
) -> None:
    reconciliation.provider.error = NotFound("there is no such payment")
    reconciliation.run()
    assert reconciliation.run().stats.quarantined_count == 1
    sql.execute(f"UPDATE payments SET {ended}".encode())  # noqa: S608 - the test's own
    assert reconciliation.run().stats.quarantined_count == 0
    assert reconciliation.waiting() == []


def test_unfunded_payout_is_never_quarantined(reconciliation: Reconciliation) -> None:
    reconciliation.payouts = Bank()
    reconciliation.run()
    reconciliation.clock.at += timedelta(days=30)
    result = reconciliation.run()
    assert (result.success, result.stats.quarantined_count) == (False, 0)
    reconciliation.payouts.error = ValueError("a fault of ours")
    for _ in range(MAX_FAILURES):
        result = reconciliation.run()
    assert result.stats.quarantined_count == 1


def test_discarded_item_is_not_retried_and_can_be_read(reconciliation: Reconciliation, event: str) -> None:
    reconciliation.provider.error = NotFound("there is no such thing")
    reconciliation.run()
    (item,) = reconciliation.waiting()
    discarded = reconciliation.quarantine.discard(item.id, "a test of Stripe's")
    assert reconciliation.quarantine.discard(item.id, "another reason") == discarded
    assert reconciliation.quarantine.get(item.id) == discarded
    assert (discarded.discard_reason, discarded.discarded_at) == ("a test of Stripe's", reconciliation.clock.at)
    assert reconciliation.waiting() == []
    result = reconciliation.run()
    assert (result.success, result.stats.quarantined_count) == (True, 0)
    reconciliation.provider.error = None
    reconciliation.quarantine.retry(item.id)
    assert reconciliation.run().stats.success_count == 2  # the event, and the listing of missed events


def test_failing_item_below_the_limit_is_not_in_quarantine(reconciliation: Reconciliation, event: str) -> None:
    reconciliation.provider.error = ValueError("x")
    reconciliation.run()
    (key,) = reconciliation.quarantine.failing()
    assert key == ItemKey(Kind.EVENT, event, "STRIPE")
    for call in (reconciliation.quarantine.get, reconciliation.quarantine.retry):
        with pytest.raises(ItemNotFound):
            call(uuid4())
    with pytest.raises(ItemNotFound):
        reconciliation.quarantine.discard(uuid4(), "x")


def test_failure_reason_has_no_secret(reconciliation: Reconciliation, event: str) -> None:
    reconciliation.provider.error = ValueError("https://node.example/v3/s3cret refused")
    for _ in range(MAX_FAILURES):
        reconciliation.run()
    assert reconciliation.waiting()[0].last_error == "ValueError: https://node.example refused"


def test_migration_rolls_back_with_rows(fresh_database: FreshDatabase) -> None:
    url = fresh_database("quarantine")
    migrate(url, *MIGRATIONS)
    insert = (
        "INSERT INTO failing_items (id, kind, provider, subject, failure_count, last_error, error_reason,"
        " first_failed_at, last_failed_at) VALUES (uuidv7(), 'EVENT', 'STRIPE', 'evt_1', 1, 'x', '', now(), now())"
    )
    with psycopg.connect(url, autocommit=True) as sql:
        sql.execute(insert)
        with rolled_back(url, "payment_service", "payment-0023"):
            assert sql.execute("SELECT to_regclass('failing_items')").fetchone() == (None,)
        sql.execute(insert)
