"""The ledger's rules, which the database enforces."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import psycopg
import pytest
from adplatform.payment.v1 import payment_pb2 as pb

from adlib.db import CheckViolated, Database, UniqueViolated, migrate
from adlib.errors import AppError
from adlib.idempotency import Idempotency, KeyReused
from adlib.ids import new_id
from adtesting.pytest_servers import FreshDatabase
from payment_service.__main__ import MIGRATIONS
from payment_service.balances import store as books
from payment_service.balances.model import Balance, Verification
from payment_service.holds.model import Earner, Escrow, Spend
from payment_service.holds.service import HoldService
from payment_service.ledger import store
from payment_service.ledger.model import Account, InsufficientFunds, Kind, Transfer, deposit

UNIT = 1_000_000


@pytest.fixture
def holds(db: Database) -> HoldService:
    return HoldService(db, new_id)


@pytest.fixture
def own_db(own_database_url: str) -> Iterator[Database]:
    database = Database(own_database_url)
    yield database
    database.close()


def fund(db: Database, organization_id: UUID, amount_micros: int, currency_code: str = "USD") -> Transfer:
    made = deposit(uuid4(), organization_id, "STRIPE", amount_micros, currency_code)
    with db.transaction() as tx:
        store.lock(tx, [made.debit, made.credit])
        store.post(tx, [made], new_id)
    return made


def hold(holds: HoldService, escrow: Escrow, amount_micros: int, key: str) -> int:
    return holds.hold(escrow, amount_micros, key)


def release(holds: HoldService, escrow: Escrow, key: str) -> int:
    idempotency = Idempotency(
        escrow.organization_id, "release", key, pb.ReleaseHoldRequest(),
        lambda micros: pb.ReleaseHoldResponse(released_micros=micros), pb.ReleaseHoldResponse,
    )  # fmt: skip
    return holds.release(escrow, key, idempotency).released_micros


def figures(db: Database, organization_id: UUID) -> tuple[int, int, int]:
    balance = books.balance(db, organization_id, "USD")
    return balance.available_micros, balance.held_micros, balance.spent_micros


def sound(db: Database) -> bool:
    found = books.verify_any_tenant(db)
    return bool(found) and all(one.is_sound for one in found)


@pytest.fixture
def escrow(db: Database) -> Escrow:
    """The escrow of a campaign whose organization has 100."""
    made = Escrow(uuid4(), uuid4(), "USD")
    fund(db, made.organization_id, 100 * UNIT)
    return made


def test_new_organization_has_zero_balance(own_db: Database) -> None:
    assert books.balance(own_db, uuid4(), "EUR") == Balance("EUR", 0, 0, 0)
    assert books.verify_any_tenant(own_db) == []


def test_hold_spend_and_release_move_exact_amounts(db: Database, holds: HoldService, escrow: Escrow) -> None:
    assert hold(holds, escrow, 60 * UNIT, "a") == 60 * UNIT
    (result,) = holds.spend([Spend(escrow, 25 * UNIT + 1, "s", None)])
    assert (result.posted_micros, result.held_micros) == (25 * UNIT + 1, 35 * UNIT - 1)
    assert figures(db, escrow.organization_id) == (40 * UNIT, 35 * UNIT - 1, 25 * UNIT + 1)
    assert release(holds, escrow, "r") == 35 * UNIT - 1
    assert figures(db, escrow.organization_id) == (75 * UNIT - 1, 0, 25 * UNIT + 1)
    assert sound(db)


def test_repeated_hold_moves_nothing_and_returns_the_held_amount(holds: HoldService, escrow: Escrow) -> None:
    hold(holds, escrow, 60 * UNIT, "a")
    hold(holds, escrow, 20 * UNIT, "b")
    assert hold(holds, escrow, 60 * UNIT, "a") == 80 * UNIT
    with pytest.raises(KeyReused):
        hold(holds, escrow, 61 * UNIT, "a")


def test_refused_hold_does_not_consume_its_key(db: Database, holds: HoldService, escrow: Escrow) -> None:
    with pytest.raises(InsufficientFunds) as refused:
        hold(holds, escrow, 101 * UNIT, "a")
    assert refused.value.metadata == {"availableMicros": str(100 * UNIT), "requiredMicros": str(101 * UNIT)}
    assert figures(db, escrow.organization_id) == (100 * UNIT, 0, 0)
    fund(db, escrow.organization_id, UNIT)
    assert hold(holds, escrow, 101 * UNIT, "a") == 101 * UNIT


def test_repeated_release_does_not_affect_a_later_hold(db: Database, holds: HoldService, escrow: Escrow) -> None:
    assert release(holds, escrow, "nothing yet") == 0
    hold(holds, escrow, 10 * UNIT, "a")
    assert release(holds, escrow, "nothing yet") == 0
    assert release(holds, escrow, "r") == 10 * UNIT
    hold(holds, escrow, 5 * UNIT, "b")
    assert release(holds, escrow, "r") == 10 * UNIT
    assert figures(db, escrow.organization_id) == (95 * UNIT, 5 * UNIT, 0)


def test_spend_is_shared_exactly_and_capped_to_the_hold(db: Database, holds: HoldService, escrow: Escrow) -> None:
    earner = Earner(uuid4(), uuid4(), 7000)
    hold(holds, escrow, 10, "a")
    results = holds.spend(
        [Spend(escrow, 3, "one", earner), Spend(escrow, 6, "two", None), Spend(escrow, 5, "three", earner)]
    )
    assert [(one.posted_micros, one.held_micros) for one in results] == [(3, 0), (6, 0), (1, 0)]
    (earned,) = books.of_publishers_any_tenant(db, [earner.publisher_id])
    # 70 % of 3 is 2.1 and of 1 is 0.7: rounded down for each.
    assert earned.available_micros == 2
    assert figures(db, escrow.organization_id)[2] == 10
    assert sound(db)


def test_repeated_spend_returns_the_first_result(db: Database, holds: HoldService, escrow: Escrow) -> None:
    hold(holds, escrow, 10, "a")
    item = Spend(escrow, 15, "s", None)
    first, same = holds.spend([item, item])
    assert (first, same.posted_micros) == (same, 10)
    hold(holds, escrow, 50, "b")
    (again,) = holds.spend([item])
    assert (again.posted_micros, again.held_micros) == (10, 50)
    assert figures(db, escrow.organization_id)[2] == 10


def test_spend_without_a_hold_posts_nothing(db: Database, holds: HoldService, escrow: Escrow) -> None:
    (result,) = holds.spend([Spend(escrow, 5, "s", None)])
    assert (result.posted_micros, result.held_micros) == (0, 0)
    assert figures(db, escrow.organization_id) == (100 * UNIT, 0, 0)


def test_balances_are_separate_per_currency_and_organization(db: Database, holds: HoldService, escrow: Escrow) -> None:
    fund(db, escrow.organization_id, 7 * UNIT, "EUR")
    with pytest.raises(InsufficientFunds):
        hold(holds, Escrow(escrow.organization_id, escrow.campaign_id, "EUR"), 8 * UNIT, "a")
    with pytest.raises(InsufficientFunds):
        hold(holds, Escrow(uuid4(), escrow.campaign_id, "USD"), 1, "a")
    hold(holds, escrow, UNIT, "a")
    assert release(holds, Escrow(uuid4(), escrow.campaign_id, "USD"), "r") == 0
    assert sound(db)


def test_concurrent_holds_never_overdraw(db: Database, holds: HoldService, escrow: Escrow) -> None:
    ready = threading.Barrier(12)

    def try_hold(number: int) -> bool:
        ready.wait()
        try:
            hold(holds, Escrow(escrow.organization_id, uuid4(), "USD"), 30 * UNIT, f"k{number}")
        except InsufficientFunds:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(try_hold, range(12))) == 3
    assert figures(db, escrow.organization_id) == (10 * UNIT, 90 * UNIT, 0)


def test_concurrent_holds_with_one_key_are_one_hold(db: Database, holds: HoldService, escrow: Escrow) -> None:
    with ThreadPoolExecutor(8) as pool:
        held = list(pool.map(lambda _: hold(holds, escrow, 10 * UNIT, "same"), range(8)))
    assert held == [10 * UNIT] * 8
    assert figures(db, escrow.organization_id) == (90 * UNIT, 10 * UNIT, 0)


def test_concurrent_spend_batches_in_different_orders_do_not_deadlock(db: Database, holds: HoldService) -> None:
    organizations = [uuid4() for _ in range(3)]
    for organization in organizations:
        fund(db, organization, 1000)
    escrows = [Escrow(organization, uuid4(), "USD") for organization in organizations for _ in range(3)]
    for number, one in enumerate(escrows):
        hold(holds, one, 300, f"h{number}")
    earner = Earner(uuid4(), uuid4(), 7000)

    def post(worker: int) -> None:
        turned = escrows[worker:] + escrows[:worker]
        for round in range(5):
            holds.spend([Spend(one, 10, f"{worker}:{round}", earner) for one in turned])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(post, range(6)))
    assert [figures(db, organization) for organization in organizations] == [(100, 0, 900)] * 3
    assert books.of_publishers_any_tenant(db, [earner.publisher_id])[0].available_micros == 9 * 30 * 7
    assert sound(db)


def test_key_is_posted_once(db: Database) -> None:
    made = deposit(uuid4(), uuid4(), "STRIPE", UNIT, "USD")
    with db.transaction() as tx:
        store.lock(tx, [made.debit, made.credit])
        store.post(tx, [made], new_id)
    with pytest.raises(UniqueViolated), db.transaction() as tx:
        store.post(tx, [made], new_id)


def test_linked_transfers_are_atomic(db: Database, escrow: Escrow) -> None:
    good = escrow.hold(10, "good")
    bad = Transfer("HOLD", escrow.wallet, escrow.account, 100 * UNIT, escrow.campaign_id, "bad")
    with pytest.raises(CheckViolated) as refused, db.transaction() as tx:
        store.lock(tx, [escrow.wallet, escrow.account])
        store.post(tx, [good, bad], new_id)
    assert refused.value.constraint == "accounts_floor"
    assert figures(db, escrow.organization_id) == (100 * UNIT, 0, 0)


INSERT = """
INSERT INTO transfers (id, debit_account_id, credit_account_id, amount_micros, currency_code, kind, reference,
                       idempotency_key)
VALUES (uuidv7(), %s, %s, %s, %s, 'HOLD', gen_random_uuid(), gen_random_uuid()::text)
"""


def test_raw_sql_cannot_overdraw_or_unbalance(sql: psycopg.Connection, db: Database, escrow: Escrow) -> None:
    with db.transaction() as tx:
        store.lock(tx, [escrow.account, Account(Kind.AVAILABLE, "EUR", escrow.organization_id)])
    wallet, account = escrow.wallet.id, escrow.account.id
    sql.execute(INSERT, [wallet, account, 40 * UNIT, "USD"])
    assert figures(db, escrow.organization_id) == (60 * UNIT, 40 * UNIT, 0)
    for wrong in (
        [wallet, account, 60 * UNIT + 1, "USD"],
        [wallet, account, 0, "USD"],
        [wallet, account, -1, "USD"],
        [wallet, wallet, 1, "USD"],
        [wallet, account, 1, "EUR"],
        [wallet, Account(Kind.AVAILABLE, "EUR", escrow.organization_id).id, 1, "USD"],
        [wallet, uuid4(), 1, "USD"],
    ):
        with pytest.raises(psycopg.Error):
            sql.execute(INSERT, wrong)
    for statement in (
        "UPDATE accounts SET credits_micros = credits_micros + 1",
        "UPDATE accounts SET kind = 'PROVIDER_CLEARING'",
        "DELETE FROM accounts",
        "TRUNCATE accounts CASCADE",
        "INSERT INTO accounts (id, kind, organization_id, subject, currency_code, credits_micros) "
        "VALUES (gen_random_uuid(), 'AVAILABLE', gen_random_uuid(), '', 'USD', 5)",
    ):
        with pytest.raises(psycopg.Error):
            sql.execute(statement.encode())
    assert figures(db, escrow.organization_id) == (60 * UNIT, 40 * UNIT, 0)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE transfers SET amount_micros = 1", "DELETE FROM transfers", "TRUNCATE transfers CASCADE"],
)
def test_transfers_are_immutable(sql: psycopg.Connection, escrow: Escrow, statement: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="only ever added to"):
        sql.execute(statement.encode())


def test_verification_finds_a_tampered_balance(own_database_url: str, own_db: Database) -> None:
    organization_id = uuid4()
    for _ in range(3):
        fund(own_db, organization_id, UNIT)
    (found,) = books.verify_any_tenant(own_db)
    assert found == Verification("USD", 0, 0, 0, 0, 2, 3)
    with psycopg.connect(own_database_url, autocommit=True) as sql:
        sql.execute("SET session_replication_role = replica")
        sql.execute("UPDATE accounts SET credits_micros = credits_micros + 7 WHERE kind = 'AVAILABLE'")
        (found,) = books.verify_any_tenant(own_db)
        assert (found.sum_micros, found.difference_micros) == (7, 7)
        sql.execute("UPDATE accounts SET debits_micros = debits_micros + 7 WHERE kind = 'PROVIDER_CLEARING'")
    (found,) = books.verify_any_tenant(own_db)
    # The sum is 0 again, although both accounts are wrong.
    assert (found.sum_micros, found.difference_micros) == (0, 14)


def test_unsupported_currency_is_refused(holds: HoldService) -> None:
    with pytest.raises(AppError, match="XXX"):
        holds.spend([Spend(Escrow(uuid4(), uuid4(), "XXX"), 1, "s", None)])


def test_migrations_roll_back_with_rows(fresh_database: FreshDatabase) -> None:
    from importlib.resources import files

    from yoyo import get_backend, read_migrations

    url = fresh_database("rollback")
    migrate(url, *MIGRATIONS)
    db = Database(url)
    made = Escrow(uuid4(), uuid4(), "USD")
    fund(db, made.organization_id, 100)
    holds = HoldService(db, new_id)
    hold(holds, made, 50, "a")
    holds.spend([Spend(made, 5, "s", None)])
    db.close()
    backend = get_backend(url.replace("postgresql://", "postgresql+psycopg://", 1))
    backend.rollback_migrations(backend.to_rollback(read_migrations(str(files("payment_service") / "migrations"))))
    backend.connection.close()
    with psycopg.connect(url) as connection:
        left = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1"
        ).fetchall()
    assert not {"accounts", "transfers", "spends", "payments", "payouts"} & {name for (name,) in left}
    assert "payment-0001-ledger" in migrate(url, *MIGRATIONS)
