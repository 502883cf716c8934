"""Debts and the earnings on hold for them, in the database."""

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, and_, any_, bindparam, delete, func, select, text

from adlib.db import Query, Session, Transaction
from payment_service.ledger.model import Account, Kind
from payment_service.tables import accounts, debt_changes, payouts, transfers

_SHARES_PER_PAGE = 5_000

_OWN = and_(
    debt_changes.c.organization_id == bindparam("of_organization"),
    debt_changes.c.currency_code == bindparam("in_currency"),
)
_MARKED_ANY_TENANT = Query(
    select(debt_changes.c.organization_id, debt_changes.c.currency_code)
    .order_by(debt_changes.c.organization_id)
    .limit(bindparam("most"))
)
_VERSION = Query(select(debt_changes.c.version).where(_OWN))
_CLEAR_MARK = Query(delete(debt_changes).where(_OWN, debt_changes.c.version == bindparam("seen")))
_EARNER = (accounts.c.id, accounts.c.organization_id, accounts.c.subject, accounts.c.currency_code)
_CREDITED_FROM_SPENT = (
    select(transfers.c.credit_account_id)
    .where(transfers.c.debit_account_id == bindparam("spent_account", type_=Uuid()))
    .distinct()
    .subquery()
)
_EARNERS_OF = Query(
    select(*_EARNER)
    .join_from(accounts, _CREDITED_FROM_SPENT, _CREDITED_FROM_SPENT.c.credit_account_id == accounts.c.id)
    .where(accounts.c.kind == Kind.PUBLISHER_PAYABLE.value)
    .order_by(accounts.c.subject)
)
_ON_HOLD = Query(
    select(
        func.coalesce(func.sum(accounts.c.balance_micros), 0).label("total"),
        func.coalesce(
            func.sum(accounts.c.balance_micros).filter(accounts.c.organization_id == bindparam("debtor")), 0
        ).label("own"),
    ).where(
        accounts.c.subject == bindparam("publisher"),
        accounts.c.kind == Kind.PUBLISHER_ON_HOLD.value,
        accounts.c.currency_code == bindparam("in_currency"),
    )
)
_HELD_FROM = Query(
    select(func.coalesce(func.sum(accounts.c.balance_micros), 0).label("total")).where(
        accounts.c.organization_id == bindparam("debtor"),
        accounts.c.kind == Kind.PUBLISHER_ON_HOLD.value,
        accounts.c.currency_code == bindparam("in_currency"),
    )
)
_RESERVED = Query(
    select(func.coalesce(func.sum(payouts.c.amount_micros), 0).label("total")).where(
        payouts.c.publisher_id == bindparam("publisher", type_=Uuid()),
        payouts.c.currency_code == bindparam("in_currency"),
        # Literal text, so that PostgreSQL uses the partial index.
        text("state = 'RESERVED'"),
    )
)
_SHARES = Query(
    select(transfers.c.id, transfers.c.debit_account_id, transfers.c.amount_micros)
    .where(
        transfers.c.credit_account_id == bindparam("payable_account", type_=Uuid()),
        transfers.c.id < bindparam("before", type_=Uuid()),
        transfers.c.kind == "PUBLISHER_SHARE",
    )
    .order_by(transfers.c.id.desc())
    .limit(_SHARES_PER_PAGE)
)
_OWNERS_ANY_TENANT = Query(
    select(accounts.c.id, accounts.c.organization_id).where(
        accounts.c.id == any_(bindparam("ids", type_=ARRAY(Uuid()))), accounts.c.kind == Kind.SPENT.value
    )
)


def marked_any_tenant(db: Session, limit: int) -> Sequence[tuple[UUID, str]]:
    """Organizations and currencies whose debt has changed, or from which publishers have earned during a debt."""
    return [(row.organization_id, row.currency_code) for row in db.all(_MARKED_ANY_TENANT, most=limit)]


def version(db: Session, organization_id: UUID, currency_code: str) -> int | None:
    """The version of the debt's mark; None if it is not marked."""
    row = db.one(_VERSION, of_organization=organization_id, in_currency=currency_code)
    return row.version if row else None


def clear_mark(tx: Transaction, organization_id: UUID, currency_code: str, seen: int) -> None:
    """Deletes the debt's mark, unless it was marked again since the version `seen`."""
    tx.execute(_CLEAR_MARK, of_organization=organization_id, in_currency=currency_code, seen=seen)


def earners(db: Session, spent: Account) -> Mapping[UUID, Account]:
    """The payable accounts of all publishers that have earned from the organization with this SPENT account."""
    return {
        UUID(row.subject): Account(Kind.PUBLISHER_PAYABLE, row.currency_code, row.organization_id, row.subject)
        for row in db.all(_EARNERS_OF, spent_account=spent.id)
    }


def on_hold(db: Session, publisher_id: UUID, currency_code: str, debtor: UUID) -> tuple[int, int]:
    """The publisher's earnings on hold, in micros: in total, and those from the debtor."""
    row = db.one(_ON_HOLD, publisher=str(publisher_id), in_currency=currency_code, debtor=debtor)
    return (int(row.total), int(row.own)) if row else (0, 0)


def held_from(db: Session, debtor: UUID, currency_code: str) -> int:
    """The sum of all publishers' earnings on hold from the debtor, in micros."""
    row = db.one(_HELD_FROM, debtor=debtor, in_currency=currency_code)
    return int(row.total) if row else 0


def reserved(db: Session, publisher_id: UUID, currency_code: str) -> int:
    """The amount reserved by the publisher's unsent payouts, in micros."""
    row = db.one(_RESERVED, publisher=publisher_id, in_currency=currency_code)
    return int(row.total) if row else 0


def unpaid_by_source(db: Session, payable: Account, unpaid_micros: int) -> Mapping[UUID, int]:
    """Divides the publisher's newest earnings, up to `unpaid_micros`, by the SPENT accounts that paid them."""
    found: dict[UUID, int] = {}
    for source, amount_micros in _newest_shares(db, payable):
        if unpaid_micros <= 0:
            break
        part = min(amount_micros, unpaid_micros)
        found[source] = found.get(source, 0) + part
        unpaid_micros -= part
    return found


def owners_any_tenant(db: Session, account_ids: Sequence[UUID]) -> Mapping[UUID, UUID]:
    """The organizations that own these SPENT accounts."""
    return {row.id: row.organization_id for row in db.all(_OWNERS_ANY_TENANT, ids=list(account_ids))}


def _newest_shares(db: Session, payable: Account) -> Iterator[tuple[UUID, int]]:
    before = UUID(int=(1 << 128) - 1)
    while rows := db.all(_SHARES, payable_account=payable.id, before=before):
        yield from ((row.debit_account_id, row.amount_micros) for row in rows)
        before = rows[-1].id
