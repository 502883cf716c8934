"""Receipts are numbered once per payment, without gaps, and independently per organization."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import psycopg.types.json
import pytest

from adlib.db import Database
from adlib.ids import new_id
from payment_service.payments.model import PaymentNotFound, PaymentStateInvalid
from payment_service.receipts import store

AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
_PAY = (
    "INSERT INTO payments (id, organization_id, provider, state, amount_micros, currency_code, paid_micros, created_at,"
    " updated_at, checked_at) VALUES (%s, %s, 'WISE', 'SUCCEEDED', 5000000, 'EUR', 5000000, %s, %s, %s)"
)
_ARRIVE = (
    "INSERT INTO deposits (id, provider, external_key, payment_id, organization_id, state, amount_micros,"
    " currency_code, detail, created_at, updated_at)"
    " VALUES (%s, 'WISE', %s, %s, %s, %s, 5000000, 'EUR', %s, %s, %s)"
)


class _Crash(Exception):
    pass


def issue(db: Database, organization_id: UUID, payment_id: UUID) -> int:
    with db.transaction() as tx:
        return store.issue(tx, organization_id, payment_id, AT)


def paid(sql: psycopg.Connection, organization_id: UUID) -> UUID:
    payment_id = new_id()
    sql.execute(_PAY, [payment_id, organization_id, AT, AT, AT])
    return payment_id


def arrive(sql: psycopg.Connection, organization_id: UUID, payment_id: UUID, state: str = "CREDITED") -> None:
    id = new_id()
    detail = psycopg.types.json.Jsonb({"sender_name": str(id)})
    sql.execute(_ARRIVE, [id, str(id), payment_id, organization_id, state, detail, AT, AT])


def test_receipt_numbers_of_an_organization_are_consecutive(db: Database) -> None:
    one, other = uuid4(), uuid4()
    assert [issue(db, one, uuid4()) for _ in range(3)] == [1, 2, 3]
    assert issue(db, other, uuid4()) == 1


def test_receipt_number_of_a_payment_is_stable(db: Database) -> None:
    organization_id, payment_id = uuid4(), uuid4()
    assert [issue(db, organization_id, payment_id) for _ in range(3)] == [1, 1, 1]
    assert issue(db, organization_id, uuid4()) == 2


def test_rolled_back_receipt_number_is_reused(db: Database) -> None:
    organization_id = uuid4()

    def fail() -> None:
        with db.transaction() as tx:
            store.issue(tx, organization_id, uuid4(), AT)
            raise _Crash

    with pytest.raises(_Crash):
        fail()
    assert issue(db, organization_id, uuid4()) == 1


def test_concurrent_receipts_leave_no_gap(db: Database, sql: psycopg.Connection) -> None:
    organization_id = uuid4()
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: issue(db, organization_id, uuid4()), range(64)))
    assert sorted(numbers) == list(range(1, 65))
    stored = sql.execute("SELECT number FROM receipts WHERE organization_id = %s ORDER BY 1", [organization_id])
    assert [number for (number,) in stored] == list(range(1, 65))


def test_receipts_of_different_organizations_do_not_block_each_other(db: Database) -> None:
    with db.transaction() as tx:
        store.issue(tx, uuid4(), uuid4(), AT)
        # On its own connection; if it waited, the statement would time out.
        assert issue(db, uuid4(), uuid4()) == 1


def test_receipt_has_the_amounts_and_deposits(db: Database, sql: psycopg.Connection) -> None:
    organization_id = uuid4()
    payment_id = paid(sql, organization_id)
    for state in ("CREDITED", "REVERSED", "SEEN"):
        arrive(sql, organization_id, payment_id, state)
    issue(db, organization_id, payment_id)
    found = store.get(db, organization_id, payment_id)
    assert (found.label, found.issued_at, found.paid_micros, found.currency_code) == ("R-000001", AT, 5_000_000, "EUR")
    assert [one.is_reversed for one in found.deposits] == [True, False]
    assert found.omitted_count == 0


def test_receipt_without_deposits_is_valid(db: Database, sql: psycopg.Connection) -> None:
    organization_id = uuid4()
    payment_id = paid(sql, organization_id)
    issue(db, organization_id, payment_id)
    assert list(store.get(db, organization_id, payment_id).deposits) == []


def test_receipt_reads_only_the_newest_deposits(db: Database, sql: psycopg.Connection) -> None:
    organization_id = uuid4()
    payment_id = paid(sql, organization_id)
    with sql.transaction():
        for _ in range(store.MAX_DEPOSITS + 7):
            arrive(sql, organization_id, payment_id)
    issue(db, organization_id, payment_id)
    found = store.get(db, organization_id, payment_id)
    names = [one.sender_name for one in found.deposits]
    assert (len(names), found.omitted_count) == (store.MAX_DEPOSITS, 7)
    assert names == sorted(names, reverse=True)


def test_receipt_is_missing_for_uncredited_payments_and_other_organizations(
    db: Database, sql: psycopg.Connection
) -> None:
    organization_id = uuid4()
    payment_id = paid(sql, organization_id)
    with pytest.raises(PaymentStateInvalid):
        store.get(db, organization_id, payment_id)
    issue(db, organization_id, payment_id)
    with pytest.raises(PaymentNotFound):
        store.get(db, uuid4(), payment_id)
