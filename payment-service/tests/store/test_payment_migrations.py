"""The migration of payments from before deposits had rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from uuid import UUID, uuid4

import psycopg
import pytest
from yoyo import get_backend, read_migrations

from adlib.clock import FixedClock
from adlib.db import Database, UniqueViolated, migrate
from adlib.ids import new_id
from adlib.outbox import Outbox
from adtesting.pytest_servers import FreshDatabase
from payment_service.__main__ import MIGRATIONS
from payment_service.balances import store as books
from payment_service.features import PaymentFeatures
from payment_service.ledger import store as ledger
from payment_service.ledger.model import deposit
from payment_service.payments.model import IncomingFunds, Report, State
from payment_service.providers.service import Providers

ORGANIZATION, PAID = uuid4(), 70_000_000
NOW = datetime.now(UTC)
ADD = (
    "INSERT INTO payments (id, organization_id, provider, state, amount_micros, currency_code, external_id, created_at,"
    " updated_at, checked_at) VALUES (%s, %s, 'STRIPE', %s, %s, 'USD', %s, %s, %s, %s)"
)


def take_back(url: str) -> None:
    backend = get_backend(url.replace("postgresql://", "postgresql+psycopg://", 1))
    every = read_migrations(str(files("payment_service") / "migrations"))
    backend.rollback_migrations(backend.to_rollback(every.filter(lambda one: one.id >= "payment-0007")))
    backend.connection.close()


@dataclass
class Old:
    """A database of that earlier release, and the code of this one."""

    url: str
    db: Database
    features: PaymentFeatures

    def make(self, state: str, external_id: str | None = None) -> UUID:
        payment_id, at = new_id(), NOW - timedelta(minutes=5)
        with psycopg.connect(self.url, autocommit=True) as sql:
            sql.execute(ADD, [payment_id, ORGANIZATION, state, PAID, external_id, at, at, at])
        if state in ("SUCCEEDED", "REFUNDED", "DISPUTED"):
            made = deposit(payment_id, ORGANIZATION, "STRIPE", PAID, "USD")
            assert ledger.post_chains(self.db, [[made]], new_id)
        return payment_id

    def migrate(self) -> None:
        migrate(self.url, *MIGRATIONS)

    def report_payment(self, payment_id: UUID, external_id: str) -> None:
        report = Report(external_id, State.SUCCEEDED, (IncomingFunds(external_id, PAID, "USD"),))
        self.features.booking.settle(payment_id, "STRIPE", report)

    def available(self) -> int:
        return books.balance(self.db, ORGANIZATION, "USD").available_micros


@pytest.fixture
def old(fresh_database: FreshDatabase) -> Iterator[Old]:
    url = fresh_database("payments_before")
    migrate(url, *MIGRATIONS)
    take_back(url)
    db, clock = Database(url), FixedClock(NOW)
    yield Old(
        url,
        db,
        PaymentFeatures.build(db, Outbox("payment", clock), Providers({}, {}), clock, new_id),
    )
    db.close()


@pytest.mark.parametrize("state", ["SUCCEEDED", "REFUNDED", "DISPUTED"])
def test_payment_credited_before_the_migration_is_not_credited_again(old: Old, state: str) -> None:
    payment_id = old.make(state, "pi")
    old.migrate()
    old.report_payment(payment_id, "pi")
    assert (old.available(), old.features.payments.get(ORGANIZATION, payment_id).state) == (PAID, state)
    assert all(one.is_sound for one in books.verify_any_tenant(old.db))


def test_payment_credited_by_the_previous_release_is_not_credited_again(old: Old) -> None:
    old.migrate()
    payment_id = old.make("SUCCEEDED", "pi")
    with pytest.raises(UniqueViolated, match="transfers_once"):
        old.report_payment(payment_id, "pi")
    assert old.available() == PAID


def test_migration_closes_payments_that_cannot_be_paid(old: Old) -> None:
    waiting, declined = old.make("PENDING", "pi_1"), old.make("FAILED", "pi_2")
    old.make("FAILED")
    old.make("EXPIRED", "pi_3")
    old.make("SUCCEEDED", "pi_4")
    old.migrate()
    with psycopg.connect(old.url, autocommit=True) as sql:
        open_ones = sql.execute(
            "SELECT id FROM payments WHERE NOT is_closed AND state IN ('PENDING', 'PROCESSING', 'FAILED')"
        ).fetchall()
    assert {payment_id for (payment_id,) in open_ones} == {waiting, declined}
