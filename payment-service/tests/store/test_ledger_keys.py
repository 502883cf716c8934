"""An idempotency key of the ledger stands for one request: repeats change nothing, other requests are refused."""

from dataclasses import replace
from uuid import UUID, uuid4

import psycopg
import pytest
from adplatform.payment.v1 import payment_pb2 as pb

from adlib.db import Database, migrate
from adlib.idempotency import Idempotency, KeyReused
from adlib.ids import new_id
from adtesting.migrations import rolled_back
from adtesting.pytest_servers import FreshDatabase
from payment_service.__main__ import MIGRATIONS
from payment_service.balances import store as books
from payment_service.holds.model import Earner, Escrow, Spend
from payment_service.holds.service import HoldService
from payment_service.ledger import store
from payment_service.ledger.model import deposit

HELD = 1_000


def funded(db: Database, amount_micros: int = 10 * HELD) -> Escrow:
    escrow = Escrow(uuid4(), uuid4(), "USD")
    made = deposit(uuid4(), escrow.organization_id, "STRIPE", amount_micros, "USD")
    with db.transaction() as tx:
        store.lock(tx, [made.debit, made.credit])
        store.post(tx, [made], new_id)
    return escrow


@pytest.fixture
def holds(db: Database) -> HoldService:
    return HoldService(db, new_id)


@pytest.fixture
def escrow(db: Database, holds: HoldService) -> Escrow:
    """An escrow that holds 1,000 micros."""
    made = funded(db)
    holds.hold(made, HELD, "held")
    return made


def release(holds: HoldService, escrow: Escrow, key: str, max_micros: int | None = None) -> int:
    request = pb.ReleaseHoldRequest(campaign_id=str(escrow.campaign_id), amount_micros=max_micros)
    idempotency = Idempotency(
        escrow.organization_id, "release", key, request,
        lambda micros: pb.ReleaseHoldResponse(released_micros=micros), pb.ReleaseHoldResponse,
    )  # fmt: skip
    return holds.release(escrow, key, idempotency, max_micros).released_micros


def spent(db: Database, organization_id: UUID) -> int:
    return books.balance(db, organization_id, "USD").spent_micros


ADA = Earner(uuid4(), uuid4(), 7000)


@pytest.mark.parametrize("asked_micros", [400, 1_500, 5_000], ids=["whole", "in part", "nothing is left"])
@pytest.mark.parametrize("earner", [None, ADA], ids=["platform", "publisher"])
def test_different_spend_with_a_used_key_is_refused(
    db: Database, holds: HoldService, escrow: Escrow, asked_micros: int, earner: Earner | None
) -> None:
    if asked_micros == 5_000:
        holds.spend([Spend(escrow, HELD, "all of it", None)])
    before = spent(db, escrow.organization_id)
    item = Spend(escrow, asked_micros, "s", earner)
    (first,) = holds.spend([item])
    assert first.posted_micros == min(asked_micros, HELD - before)
    holds.hold(escrow, HELD, "more")
    others = [
        replace(item, amount_micros=asked_micros - 1),
        replace(item, amount_micros=asked_micros + 1),
        replace(item, earner=Earner(uuid4(), uuid4(), 7000)),
        replace(item, earner=replace(ADA, share_basis_points=6000)),
        replace(item, earner=ADA if earner is None else None),
    ]
    for other in others:
        (refused,) = holds.spend([other])
        assert (refused.is_refused, refused.posted_micros) == (True, 0)
        assert refused.first_posted_micros == first.posted_micros
    (again,) = holds.spend([item])
    assert (again.is_refused, again.posted_micros) == (False, first.posted_micros)
    assert spent(db, escrow.organization_id) == before + first.posted_micros


def test_refused_spend_does_not_block_other_items(db: Database, holds: HoldService, escrow: Escrow) -> None:
    results = holds.spend([Spend(escrow, 10, "a", None), Spend(escrow, 11, "a", None), Spend(escrow, 5, "b", None)])
    assert [(one.is_refused, one.posted_micros) for one in results] == [(False, 10), (True, 0), (False, 5)]
    assert spent(db, escrow.organization_id) == 15


def test_second_spend_with_a_key_in_one_call_is_refused_after_a_partial_first(
    db: Database, holds: HoldService, escrow: Escrow
) -> None:
    results = holds.spend([Spend(escrow, HELD + 1, "a", None), Spend(escrow, HELD + 2, "a", None)])
    assert [(one.is_refused, one.posted_micros) for one in results] == [(False, HELD), (True, 0)]
    assert spent(db, escrow.organization_id) == HELD


def test_repeated_release_moves_nothing_after_its_idempotency_record_expired(
    holds: HoldService, escrow: Escrow, sql: psycopg.Connection
) -> None:
    assert release(holds, escrow, "end", 600) == 600
    sql.execute("DELETE FROM idempotency_keys WHERE organization_id = %s", [escrow.organization_id])
    holds.hold(escrow, HELD, "more")
    assert release(holds, escrow, "end", 600) == 600
    sql.execute("DELETE FROM idempotency_keys WHERE organization_id = %s", [escrow.organization_id])
    with pytest.raises(KeyReused):
        release(holds, replace(escrow, campaign_id=uuid4()), "end")
    assert store.available(holds._db, [escrow.account])[escrow.account] == 2 * HELD - 600


def test_spends_without_content_hash_are_compared_by_their_transfers(fresh_database: FreshDatabase) -> None:
    url = fresh_database("spends")
    migrate(url, *MIGRATIONS)
    db = Database(url)
    holds = HoldService(db, new_id)
    escrow = funded(db)
    holds.hold(escrow, HELD, "held")
    item = Spend(escrow, HELD + 1, "s", ADA)
    holds.spend([item])
    with rolled_back(url, "payment_service", "payment-0022"), psycopg.connect(url, autocommit=True) as sql:
        # As the previous release writes it.
        sql.execute(
            "INSERT INTO spends (escrow_id, idempotency_key, asked_micros, posted_micros) VALUES (%s, 'old', 7, 0)",
            [escrow.account.id],
        )
    holds.hold(escrow, HELD, "more")
    old = Spend(escrow, 7, "old", None)
    results = holds.spend([item, replace(item, earner=None), replace(item, amount_micros=HELD), old])
    assert [(one.is_refused, one.posted_micros) for one in results] == [
        (False, HELD), (True, 0), (True, 0), (False, 0)
    ]  # fmt: skip
    db.close()
