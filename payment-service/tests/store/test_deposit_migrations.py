"""The migrations of deposits and refund requests, with rows, up and down."""

from importlib.resources import files
from uuid import uuid4

import psycopg
import pytest
from yoyo import get_backend, read_migrations

from adlib.db import Database, migrate
from adlib.ids import new_id
from adtesting.pytest_servers import FreshDatabase
from payment_service.__main__ import MIGRATIONS
from payment_service.deposits import store

ADD = (
    "INSERT INTO deposits (id, provider, external_key, payment_id, organization_id, state, amount_micros,"
    " currency_code, created_at, updated_at) VALUES (%s, 'WISE', %s, %s, %s, %s, 5000000, 'EUR', now(), now())"
)


def test_deposits_of_the_previous_release_have_no_intended_payment(fresh_database: FreshDatabase) -> None:
    url = fresh_database("sent_for")
    migrate(url, *MIGRATIONS)
    backend = get_backend(url.replace("postgresql://", "postgresql+psycopg://", 1))
    every = read_migrations(str(files("payment_service") / "migrations"))
    mine = every.filter(lambda one: one.id >= "payment-0020")
    backend.rollback_migrations(backend.to_rollback(mine))
    payment_id, organization_id = new_id(), uuid4()
    with psycopg.connect(url, autocommit=True) as sql:
        sql.execute(ADD, [new_id(), "a", None, None, "UNMATCHED"])
        migrate(url, *MIGRATIONS)
        # As the previous release writes it.
        sql.execute(ADD, [new_id(), "b", payment_id, organization_id, "CREDITED"])
        db = Database(url)
        assert store.newest_unmatched(db, organization_id, payment_id) is None
        assert [one.external_key for one in store.of_payment(db, organization_id, payment_id)] == ["b"]
        known = store.get_any_tenant(db, "WISE", "a")
        assert known
        assert known.sent_for_payment_id is None
        db.close()
        sql.execute("UPDATE deposits SET sent_for_payment_id = %s, sent_for_organization_id = %s", [new_id(), uuid4()])
        backend.rollback_migrations(backend.to_rollback(mine))
        assert sql.execute("SELECT count(*) FROM deposits").fetchone() == (2,)
    backend.connection.close()


def test_refund_requests_migration_rolls_back_with_rows(fresh_database: FreshDatabase) -> None:
    url = fresh_database("refund_requests")
    migrate(url, *MIGRATIONS)
    add = (
        "INSERT INTO refund_requests (id, payment_id, organization_id, amount_micros, currency_code, state, refund_id,"
        " created_at, updated_at) VALUES (%s, %s, %s, 1000000, 'USD', %s, %s, now(), now())"
    )
    payment_id, organization_id = new_id(), uuid4()
    with psycopg.connect(url, autocommit=True) as sql:
        sql.execute(add, [new_id(), payment_id, organization_id, "REQUESTED", None])
        sql.execute(add, [new_id(), payment_id, organization_id, "ACCEPTED", new_id()])
        with pytest.raises(psycopg.errors.UniqueViolation, match="one_open"):
            sql.execute(add, [new_id(), payment_id, organization_id, "REQUESTED", None])
        with pytest.raises(psycopg.errors.CheckViolation, match="answer"):
            sql.execute(add, [new_id(), payment_id, organization_id, "ACCEPTED", None])
    backend = get_backend(url.replace("postgresql://", "postgresql+psycopg://", 1))
    every = read_migrations(str(files("payment_service") / "migrations"))
    backend.rollback_migrations(backend.to_rollback(every.filter(lambda one: one.id >= "payment-0021")))
    backend.connection.close()
    migrate(url, *MIGRATIONS)
    with psycopg.connect(url) as sql:
        assert sql.execute("SELECT count(*) FROM refund_requests").fetchone() == (0,)
