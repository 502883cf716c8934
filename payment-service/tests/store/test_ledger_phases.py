"""Two-phase transfers and debt: reservations end once, and debt is repaid first."""

from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from yoyo import get_backend, read_migrations

from adlib.clock import SystemClock
from adlib.db import CheckViolated, Database, UniqueViolated, migrate
from adlib.errors import Internal
from adlib.ids import new_id
from adtesting.pytest_servers import FreshDatabase
from payment_service.__main__ import MIGRATIONS
from payment_service.balances import store as books
from payment_service.balances.model import Balance
from payment_service.holds.model import Escrow
from payment_service.ledger import store
from payment_service.ledger.model import Account, Kind, Outcome, Transfer, Wallet
from payment_service.ledger.service import ReservationService

LONG_AGO, LATER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


class Desk:
    """An organization's wallet, with 100 in it, and the ledger."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.wallet = Wallet(uuid4(), "USD")
        self.clearing = self.wallet.clearing("STRIPE")
        self.accounts = [self.wallet.available, self.wallet.debt, self.clearing]
        self.post(Transfer("DEPOSIT", self.clearing, self.wallet.available, 100, uuid4(), str(uuid4())))

    def post(self, *made: Transfer) -> None:
        with self.db.transaction() as tx:
            store.lock(tx, {*self.accounts, *(side for one in made for side in (one.debit, one.credit))})
            store.post(tx, made, new_id)

    def refund(self, micros: int) -> Transfer:
        return Transfer("REFUND", self.wallet.available, self.clearing, micros, uuid4(), f"refund:{uuid4()}")

    def balance(self) -> tuple[int, int, int]:
        found = books.balance(self.db, self.wallet.organization_id, "USD")
        return found.available_micros, found.reserved_micros, found.debt_micros

    def takeable(self) -> list[int]:
        return list(store.available(self.db, self.accounts).values())


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


def refused(desk: Desk, rule: str, *made: Transfer) -> None:
    before = desk.balance()
    with pytest.raises((CheckViolated, UniqueViolated)) as error:
        desk.post(*made)
    assert error.value.constraint == rule
    assert desk.balance() == before


def void_expired(reservations: ReservationService, limit: int) -> list[UUID]:
    """As the job does."""
    return [one for one in reservations.expired(limit) if reservations.void(one)]


def test_reserved_amount_is_not_available(desk: Desk) -> None:
    desk.post(desk.refund(60).pending())
    assert desk.balance() == (40, 60, 0)
    assert desk.takeable() == [40, 0, -100]
    refused(desk, "accounts_floor", desk.refund(41))
    refused(desk, "accounts_floor", desk.refund(41).pending())
    desk.post(desk.refund(40).pending())
    assert desk.balance() == (0, 100, 0)


def test_completion_moves_a_part_and_releases_the_rest(desk: Desk) -> None:
    pending = desk.refund(60).pending(LATER)
    desk.post(pending)
    desk.post(pending.completed(45))
    assert desk.balance() == (55, 0, 0)
    assert desk.takeable() == [55, 0, -55]


def test_void_releases_the_reservation(desk: Desk) -> None:
    pending = desk.refund(60).pending()
    desk.post(pending)
    desk.post(pending.voided())
    assert desk.balance() == (100, 0, 0)


def test_reservation_ends_once(desk: Desk) -> None:
    pending = desk.refund(60).pending()
    desk.post(pending)
    desk.post(pending.completed(10))
    refused(desk, "transfers_ended", pending.voided())
    again = pending.completed(1)
    refused(desk, "transfers_ended", again)
    other = desk.refund(5)
    desk.post(other)
    refused(desk, "transfers_pending", other.voided())
    refused(desk, "transfers_phase", desk.refund(5).voided())


def test_completion_must_match_its_reservation(desk: Desk, db: Database) -> None:
    pending = desk.refund(60).pending()
    desk.post(pending)
    stranger = Desk(db)
    for wrong in (
        pending.completed(61),
        Transfer(**{**fields(pending.voided()), "amount_micros": 59}),
        Transfer(**{**fields(pending.completed()), "credit": stranger.clearing}),
        Transfer(**{**fields(pending.completed()), "debit": stranger.wallet.available}),
    ):
        refused(desk, "transfers_pending", wrong)
    assert stranger.balance() == (100, 0, 0)


def fields(transfer: Transfer) -> dict[str, Any]:
    return {name: getattr(transfer, name) for name in Transfer.__slots__}


def test_expired_reservation_can_only_be_voided(desk: Desk, db: Database) -> None:
    pending, kept = desk.refund(30).pending(LONG_AGO), desk.refund(20).pending(LATER)
    desk.post(pending, kept)
    refused(desk, "transfers_expired", pending.completed())
    reservations = ReservationService(db, SystemClock(), new_id)
    assert len([void_expired(reservations, 1) for _ in range(3) if desk.balance() != (80, 20, 0)]) >= 1
    assert desk.balance() == (80, 20, 0)
    assert void_expired(reservations, 100) == []
    desk.post(kept.completed())
    assert desk.balance() == (80, 0, 0)


def test_expired_reservation_repays_debt_first(desk: Desk, db: Database) -> None:
    desk.post(desk.refund(100).pending(LONG_AGO))
    with db.transaction() as tx:
        there = store.lock(tx, desk.accounts)
        store.post(tx, desk.wallet.outgoing(desk.refund(70), there), new_id)
    assert desk.balance() == (0, 100, 70)
    void_expired(ReservationService(db, SystemClock(), new_id), 100)
    assert desk.balance() == (30, 0, 0)


def test_organization_cannot_have_both_balance_and_debt(desk: Desk) -> None:
    owed = Transfer("DISPUTE", desk.wallet.debt, desk.clearing, 5, uuid4(), str(uuid4()))
    refused(desk, "accounts_debt_first", owed)
    desk.post(desk.refund(100), owed)
    assert desk.balance() == (0, 0, 5)
    came = Transfer("DEPOSIT", desk.clearing, desk.wallet.available, 8, uuid4(), str(uuid4()))
    refused(desk, "accounts_debt_first", came)
    repaid = Transfer("DEBT_REPAYMENT", desk.wallet.available, desk.wallet.debt, 5, uuid4(), str(uuid4()))
    desk.post(came, repaid)
    assert desk.balance() == (3, 0, 0)


def test_debt_is_never_overpaid(desk: Desk) -> None:
    refused(
        desk,
        "accounts_ceiling",
        Transfer("DEBT_REPAYMENT", desk.wallet.available, desk.wallet.debt, 1, uuid4(), str(uuid4())),
    )


def test_debt_account_requires_a_wallet(db: Database) -> None:
    wallet = Wallet(uuid4(), "USD")
    owed = Transfer("DISPUTE", wallet.debt, wallet.clearing("STRIPE"), 5, uuid4(), str(uuid4()))
    with pytest.raises(CheckViolated, match="accounts_debt_first"), db.transaction() as tx:
        store.lock(tx, [owed.debit, owed.credit])
        store.post(tx, [owed], new_id)


def test_account_in_unknown_currency_is_refused(desk: Desk) -> None:
    missing = Account(Kind.AVAILABLE, "EUR", uuid4())
    assert store.available(desk.db, [missing]) == {missing: 0}
    with pytest.raises(Internal) as error, desk.db.transaction() as tx:
        store.post(tx, [Transfer("CORRECTION", desk.wallet.available, missing, 1, uuid4(), str(uuid4()))], new_id)
    assert isinstance(error.value.__cause__, psycopg.errors.ForeignKeyViolation)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts SET debits_pending_micros = 0",
        "UPDATE accounts SET credits_pending_micros = credits_pending_micros + 1",
        "INSERT INTO accounts (id, kind, organization_id, subject, currency_code, credits_pending_micros) "
        "VALUES (gen_random_uuid(), 'AVAILABLE', gen_random_uuid(), '', 'USD', 5)",
        "INSERT INTO accounts (id, kind, subject, currency_code) VALUES (gen_random_uuid(), 'AVAILABLE', '', 'USD')",
        "INSERT INTO accounts (id, kind, organization_id, subject, currency_code) "
        "VALUES (gen_random_uuid(), 'FEES', gen_random_uuid(), '', 'USD')",
        "INSERT INTO accounts (id, kind, subject, currency_code) VALUES (gen_random_uuid(), 'OTHER', '', 'USD')",
        "DELETE FROM pendings",
        "UPDATE pendings SET expires_at = NULL",
        "INSERT INTO pendings (transfer_id) VALUES (gen_random_uuid())",
        "TRUNCATE pendings",
        "UPDATE transfers SET phase = 'POSTED'",
        "UPDATE transfers SET expires_at = '2100-01-01'",
    ],
)
def test_raw_sql_cannot_change_reservations(desk: Desk, sql: psycopg.Connection, statement: str) -> None:
    desk.post(desk.refund(10).pending(LATER))
    with pytest.raises(psycopg.Error):
        sql.execute(statement.encode())
    assert desk.balance() == (90, 10, 0)


INSERT = """
INSERT INTO transfers (id, debit_account_id, credit_account_id, amount_micros, currency_code, kind, reference,
                       idempotency_key, phase, pending_id, freed_micros, expires_at)
VALUES (uuidv7(), %(debit)s, %(credit)s, %(amount)s, 'USD', %(kind)s, gen_random_uuid(), gen_random_uuid()::text,
        %(phase)s, %(pending)s, %(freed)s, %(expires)s)
"""


def test_raw_sql_cannot_release_more_than_is_reserved(desk: Desk, sql: psycopg.Connection) -> None:
    pending, done = desk.refund(10).pending(), desk.refund(1)
    desk.post(pending, done)
    ids = {
        key: id
        for id, key in sql.execute(
            "SELECT id, idempotency_key FROM transfers WHERE idempotency_key = ANY(%s)", [[pending.key, done.key]]
        )
    }
    plain = {
        "debit": desk.wallet.available.id, "credit": desk.clearing.id, "amount": 1, "kind": "REFUND",
        "phase": "POSTED", "pending": None, "freed": None, "expires": None,
    }  # fmt: skip
    for wrong in (
        {"freed": 5},
        {"phase": "PENDING", "freed": 5},
        {"phase": "PENDING", "pending": ids[pending.key]},
        {"phase": "COMPLETED", "freed": 5},
        {"phase": "COMPLETED", "pending": uuid4(), "freed": 5},
        {"phase": "COMPLETED", "pending": ids[done.key], "freed": 5},
        {"phase": "VOIDED", "pending": ids[pending.key]},
        {"phase": "OTHER"},
        {"kind": "OTHER"},
        {"expires": LATER},
    ):
        with pytest.raises(psycopg.Error):
            sql.execute(INSERT, plain | wrong)
    assert desk.balance() == (89, 10, 0)
    # The database computes the released amount and ignores the given one.
    sql.execute(INSERT, plain | {"phase": "COMPLETED", "pending": ids[pending.key], "freed": 1_000, "amount": 4})
    assert desk.balance() == (95, 0, 0)
    assert all(one.is_sound for one in books.verify_any_tenant(desk.db))


def test_chains_are_independent_and_each_atomic(db: Database) -> None:
    rich, poor = Desk(db), Desk(db)

    def chain(desk: Desk, *amounts: int) -> list[Transfer]:
        return [desk.refund(micros) for micros in amounts]

    repeated = chain(rich, 10)
    chains = [
        chain(rich, 1),
        chain(poor, 60, 41),
        repeated,
        [Transfer(**{**fields(repeated[0]), "amount_micros": 11})],
        chain(poor, 60, 40),
        chain(rich, 2, 3),
        chain(poor, 1),
    ]
    assert store.post_chains(db, [repeated], new_id) == [Outcome.POSTED]
    posted, short = Outcome.POSTED, Outcome.INSUFFICIENT_FUNDS
    wanted = [posted, short, Outcome.REPEATED, Outcome.KEY_REUSED, posted, posted, short]
    assert store.post_chains(db, chains, new_id) == wanted
    assert (rich.balance(), poor.balance()) == ((84, 0, 0), (0, 0, 0))
    again = [Outcome.REPEATED if one is posted else one for one in wanted]
    assert store.post_chains(db, chains, new_id) == again
    assert (rich.balance(), poor.balance()) == ((84, 0, 0), (0, 0, 0))


def test_chains_create_accounts_and_accept_any_text_as_key(db: Database) -> None:
    desk = Desk(db)
    keys = ['"', "\\", '\\"', "{", ",", "NULL", "'", "é", "a\nb", ""]
    own = uuid4()
    chains = [
        [Transfer("HOLD", desk.wallet.available, Escrow(own, uuid4(), "USD").account, 1, own, f"{own}{key}")]
        for key in keys
    ]
    assert store.post_chains(db, chains, new_id) == [Outcome.POSTED] * len(keys)
    assert store.post_chains(db, chains, new_id) == [Outcome.REPEATED] * len(keys)
    assert desk.balance() == (90, 0, 0)


def test_chains_can_reserve_complete_and_void(db: Database) -> None:
    desk = Desk(db)
    pending, late = desk.refund(40).pending(LATER), desk.refund(5).pending(LONG_AGO)
    assert store.post_chains(db, [[pending], [late]], new_id) == [Outcome.POSTED] * 2
    assert store.post_chains(db, [[pending.completed(30)], [late.completed()]], new_id) == [
        Outcome.POSTED,
        Outcome.REFUSED,
    ]
    assert store.post_chains(db, [[pending.voided()], [late.voided()]], new_id) == [Outcome.REFUSED, Outcome.POSTED]
    assert desk.balance() == (70, 0, 0)


@pytest.fixture
def before_phases(fresh_database: FreshDatabase) -> str:
    """A database from before transfers had phases."""
    url = fresh_database("before_phases")
    migrate(url, *MIGRATIONS)
    rolled_back(url)
    return url


def rolled_back(url: str) -> None:
    backend = get_backend(url.replace("postgresql://", "postgresql+psycopg://", 1))
    all_of_them = read_migrations(str(files("payment_service") / "migrations"))
    newer = all_of_them.filter(lambda one: one.id >= "payment-0006")
    with backend.lock():
        backend.rollback_migrations(backend.to_rollback(newer))
    backend.connection.close()


OLD_ROWS = """
INSERT INTO accounts (id, kind, organization_id, subject, currency_code) VALUES
    ('00000000-0000-4000-8000-000000000001', 'PROVIDER_CLEARING', NULL, 'STRIPE', 'USD'),
    ('00000000-0000-4000-8000-000000000002', 'AVAILABLE', '00000000-0000-4000-8000-000000000009', '', 'USD');
INSERT INTO transfers (
    id, debit_account_id, credit_account_id, amount_micros, currency_code, kind, reference, idempotency_key
) VALUES (
    uuidv7(), '00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002', 70, 'USD', 'DEPOSIT',
    gen_random_uuid(), 'old'
);
"""
OLD_OWNER = UUID("00000000-0000-4000-8000-000000000009")


def test_rows_from_before_phases_are_migrated(before_phases: str) -> None:
    with psycopg.connect(before_phases, autocommit=True) as sql:
        sql.execute(OLD_ROWS.encode())
        migrate(before_phases, *MIGRATIONS)
        db = Database(before_phases)
        assert books.balance(db, OLD_OWNER, "USD") == Balance("USD", 70, 0, 0)
        assert len(books.statement(db, OLD_OWNER, "USD", UUID(int=0), UUID(int=2**128 - 1), 10)) == 1
        assert [one.difference_micros for one in books.verify_any_tenant(db)] == [0]
        desk = Desk(db)
        pendings = [desk.refund(10).pending(), desk.refund(20).pending(), desk.refund(40).pending()]
        desk.post(*pendings)
        desk.post(pendings[0].completed(7))
        desk.post(pendings[1].voided())
        assert desk.balance() == (53, 40, 0)
        desk.post(pendings[2].completed(), desk.refund(53))
        desk.post(Transfer("DISPUTE", desk.wallet.debt, desk.clearing, 5, uuid4(), "owed"))
        rolled_back(before_phases)
        kept = sql.execute(
            "SELECT kind, balance_micros FROM accounts WHERE organization_id = %s ORDER BY kind",
            [desk.wallet.organization_id],
        ).fetchall()
        assert kept == [("AVAILABLE", 0), ("DEBT", -5), ("PROVIDER_CLEARING", 5)]
        # As the previous release does.
        sql.execute(OLD_ROWS.split(";")[1].replace("'old'", "'older'").encode())
        with pytest.raises(psycopg.errors.CheckViolation):
            sql.execute(OLD_ROWS.split(";")[1].replace("'old'", "'oldest'").replace("70", "-1").encode())
        migrate(before_phases, *MIGRATIONS)
        assert books.balance(db, OLD_OWNER, "USD") == Balance("USD", 140, 0, 0)
        found = books.verify_any_tenant(db)
        assert [(one.sum_micros, one.difference_micros, one.overdrawn) for one in found] == [(0, 0, 0)]
        db.close()
