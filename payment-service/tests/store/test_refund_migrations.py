"""The migration that follows refunds and payouts of earlier releases."""

from collections.abc import Iterator
from importlib.resources import files
from uuid import UUID, uuid4

import psycopg
import pytest
from yoyo import get_backend, read_migrations

from adlib.db import migrate
from adlib.ids import new_id
from adtesting.pytest_servers import FreshDatabase
from payment_service.__main__ import MIGRATIONS

_REFUND = (
    "INSERT INTO refunds (id, payment_id, organization_id, provider, amount_micros, currency_code, state, external_id,"
    " created_at, updated_at) VALUES (%s, %s, %s, 'WISE', 20000000, 'USD', %s, %s, now(), now())"
)
_DEPOSIT = (
    "INSERT INTO deposits (id, provider, external_key, state, amount_micros, currency_code, created_at, updated_at)"
    " VALUES (%s, 'WISE', 'TRANSFER-1', 'UNMATCHED', 100000000, 'USD', now(), now())"
)


def _back(url: str) -> None:
    backend = get_backend(url.replace("postgresql://", "postgresql+psycopg://", 1))
    every = read_migrations(str(files("payment_service") / "migrations"))
    backend.rollback_migrations(backend.to_rollback(every.filter(lambda one: one.id >= "payment-0016")))
    backend.connection.close()


@pytest.fixture
def url(fresh_database: FreshDatabase) -> str:
    made = fresh_database("followed_before")
    migrate(made, *MIGRATIONS)
    _back(made)
    return made


@pytest.fixture
def sql(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def _refund(sql: psycopg.Connection, state: str, external_id: str | None = None) -> UUID:
    id = new_id()
    sql.execute(_REFUND, [id, uuid4(), uuid4(), state, external_id])
    return id


def test_migration_follows_refunds_and_payouts_of_earlier_releases(url: str, sql: psycopg.Connection) -> None:
    sent, pending, failed = _refund(sql, "SUCCEEDED", "1"), _refund(sql, "PENDING", "2"), _refund(sql, "FAILED")
    sql.execute(_DEPOSIT, [new_id()])
    migrate(url, *MIGRATIONS)
    by_the_release_before = _refund(sql, "SUCCEEDED", "3")
    followed = sql.execute("SELECT id, returned_micros, reversals FROM refunds WHERE followed_until > now()").fetchall()
    assert sorted(followed) == sorted((id, None, 0) for id in (sent, pending, by_the_release_before))
    assert sql.execute("SELECT followed_until FROM refunds WHERE id = %s", [failed]).fetchone() == (None,)
    assert sql.execute("SELECT recalled_micros FROM deposits").fetchone() == (0,)


def test_rollback_restores_the_tables_of_the_previous_release(url: str, sql: psycopg.Connection) -> None:
    deposit_id = new_id()
    sql.execute(_DEPOSIT, [deposit_id])
    refund = _refund(sql, "SUCCEEDED", "1")
    migrate(url, *MIGRATIONS)
    sql.execute("UPDATE deposits SET recalled_micros = 500000")
    sql.execute("INSERT INTO deposit_recalls VALUES (%s, 'a line', 500000, now())", [deposit_id])
    sql.execute("UPDATE refunds SET state = 'FAILED', returned_micros = 19000000, reversals = 1")
    with pytest.raises(psycopg.errors.CheckViolation, match="refunds_returned"):
        sql.execute("UPDATE refunds SET returned_micros = 20000001")
    _back(url)
    assert sql.execute("SELECT id, state FROM refunds").fetchall() == [(refund, "FAILED")]
    assert sql.execute("SELECT amount_micros FROM deposits").fetchone() == (100_000_000,)
    assert sql.execute("SELECT to_regclass('deposit_recalls')").fetchone() == (None,)
    migrate(url, *MIGRATIONS)
