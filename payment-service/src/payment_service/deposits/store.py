"""Deposits in the database."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import and_, bindparam, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert

from adlib.db import Query, Session, Transaction
from adlib.db.database import Row
from adlib.paging import Page
from payment_service.deposits.model import Deposit, State
from payment_service.payments.model import Recall
from payment_service.tables import deposit_recalls, deposits

MAX_PER_PAYMENT = 50

_FIELDS = [
    deposits.c[name]
    for name in (
        "id", "provider", "external_key", "payment_id", "organization_id", "state", "amount_micros", "currency_code",
        "asset", "asset_amount", "rate", "detail", "reversals", "created_at", "updated_at",
        "sent_for_payment_id", "sent_for_organization_id", "recalled_micros",
    )
]  # fmt: skip
_ADD = Query(
    insert(deposits)
    .values(**{field.key: bindparam(field.key, type_=field.type) for field in _FIELDS})
    .on_conflict_do_nothing(constraint="deposits_once")
)
_OF_PAYMENT = Query(
    select(*_FIELDS)
    .where(
        or_(
            and_(
                deposits.c.organization_id == bindparam("organization"), deposits.c.payment_id == bindparam("payment")
            ),
            and_(
                deposits.c.sent_for_organization_id == bindparam("organization"),
                deposits.c.sent_for_payment_id == bindparam("payment"),
                # Hidden once staff have assigned it to another organization.
                or_(deposits.c.organization_id.is_(None), deposits.c.organization_id == bindparam("organization")),
            ),
        )
    )
    .order_by(deposits.c.id.desc())
    .limit(MAX_PER_PAYMENT)
)
_NEWEST_UNMATCHED = Query(
    select(*_FIELDS)
    .where(
        deposits.c.sent_for_organization_id == bindparam("organization"),
        deposits.c.sent_for_payment_id == bindparam("payment"),
        deposits.c.state == State.UNMATCHED.value,
    )
    .order_by(deposits.c.id.desc())
    .limit(1)
)
# Provider reports carry no organization, and staff list unmatched deposits: these statements are for them only.
_BY_KEY = select(*_FIELDS).where(
    deposits.c.provider == bindparam("of_provider"), deposits.c.external_key == bindparam("of_key")
)
_GET_ANY_TENANT = Query(_BY_KEY)
_LOCK_ANY_TENANT = Query(_BY_KEY.with_for_update())
_BY_ID_ANY_TENANT = Query(select(*_FIELDS).where(deposits.c.id == bindparam("deposit")))
_LOCK_BY_ID_ANY_TENANT = Query(select(*_FIELDS).where(deposits.c.id == bindparam("deposit")).with_for_update())
_UNMATCHED_ANY_TENANT = Query(
    select(*_FIELDS)
    .where(deposits.c.state == State.UNMATCHED.value, deposits.c.id < bindparam("before"))
    .order_by(deposits.c.id.desc())
    .limit(bindparam("most"))
)
_UPDATE = Query(
    update(deposits)
    .where(deposits.c.id == bindparam("deposit"))
    .values(
        state=bindparam("to_state"), payment_id=bindparam("of_payment"), organization_id=bindparam("of_organization"),
        detail=bindparam("to_detail", type_=JSONB), reversals=bindparam("to_reversals"),
        recalled_micros=bindparam("to_recalled"), updated_at=bindparam("at"),
    )
)  # fmt: skip

_ADD_RECALL = Query(
    insert(deposit_recalls)
    .values(
        deposit_id=bindparam("deposit"), line_key=bindparam("line"), amount_micros=bindparam("micros"),
        booked_at=bindparam("at"),
    )
    .on_conflict_do_nothing()
)  # fmt: skip


def add(tx: Transaction, deposit: Deposit) -> bool:
    """Stores a new deposit; False if the provider's key is known. Waits for a concurrent transaction with the key."""
    row = {field.key: getattr(deposit, field.key) for field in _FIELDS}
    return tx.execute(_ADD, **{**row, "detail": Jsonb(deposit.detail)}) == 1


def of_payment(db: Session, organization_id: UUID, payment_id: UUID) -> Sequence[Deposit]:
    """The newest deposits of the organization's payment, oldest first."""
    rows = db.all(_OF_PAYMENT, organization=organization_id, payment=payment_id)
    return [_deposit(row) for row in reversed(rows)]


def newest_unmatched(db: Session, organization_id: UUID, payment_id: UUID) -> Deposit | None:
    """The newest unmatched deposit that was sent for the organization's payment in another currency."""
    row = db.one(_NEWEST_UNMATCHED, organization=organization_id, payment=payment_id)
    return _deposit(row) if row else None


def unmatched_any_tenant(db: Session, part: Page) -> Sequence[Deposit]:
    """Unmatched deposits, newest first."""
    return [_deposit(row) for row in db.all(_UNMATCHED_ANY_TENANT, before=part.before, most=part.limit)]


def get_any_tenant(db: Session, provider: str, key: str) -> Deposit | None:
    """The deposit with the provider's key."""
    row = db.one(_GET_ANY_TENANT, of_provider=provider, of_key=key)
    return _deposit(row) if row else None


def lock_any_tenant(tx: Transaction, provider: str, key: str) -> Deposit:
    """The deposit with the provider's key, locked; LookupError if there is none."""
    row = tx.one(_LOCK_ANY_TENANT, of_provider=provider, of_key=key)
    if row is None:
        raise LookupError(f"{provider} has no deposit {key}")
    return _deposit(row)


def get_by_id_any_tenant(db: Session, deposit_id: UUID) -> Deposit | None:
    """The deposit; None if there is none."""
    row = db.one(_BY_ID_ANY_TENANT, deposit=deposit_id)
    return _deposit(row) if row else None


def lock_by_id_any_tenant(tx: Transaction, deposit_id: UUID) -> Deposit | None:
    """The deposit, locked; None if there is none."""
    row = tx.one(_LOCK_BY_ID_ANY_TENANT, deposit=deposit_id)
    return _deposit(row) if row else None


def save(tx: Transaction, deposit: Deposit) -> None:
    """Updates the deposit's mutable columns."""
    tx.execute(
        _UPDATE,
        deposit=deposit.id,
        to_state=deposit.state.value,
        of_payment=deposit.payment_id,
        of_organization=deposit.organization_id,
        to_detail=Jsonb(deposit.detail),
        to_reversals=deposit.reversals,
        to_recalled=deposit.recalled_micros,
        at=deposit.updated_at,
    )


def add_recall(tx: Transaction, deposit_id: UUID, recall: Recall, at: datetime) -> bool:
    """Stores a recall of the deposit; False if it was booked before."""
    return (
        tx.execute(_ADD_RECALL, deposit=deposit_id, line=recall.key, micros=recall.amount_micros, at=at) == 1
    )  # fmt: skip


def _deposit(row: Row) -> Deposit:
    amount = row.asset_amount
    return Deposit(
        **{**row._asdict(), "state": State(row.state), "asset_amount": None if amount is None else int(amount)}
    )
