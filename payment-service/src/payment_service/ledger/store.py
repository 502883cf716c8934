"""Accounts and transfers in the database."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    TableValuedAlias,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    true,
    union,
    union_all,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.types import TypeEngine

from adlib.db import Query, Session, Transaction
from adlib.ids import NewId, made_at
from payment_service.ledger.model import Account, Balance, Books, Kind, Line, PublisherBalance, Spend, Transfer
from payment_service.tables import accounts, spends, transfers


def _given(**types: TypeEngine[Any]) -> TableValuedAlias:
    """Arrays of the same length, a parameter each, as a table."""
    arrays = [bindparam(name, type_=ARRAY(kind)) for name, kind in types.items()]
    return func.unnest(*arrays).table_valued(*types, name="given").render_derived()


_Types = dict[str, TypeEngine[Any]]
_UUID, _TEXT, _MICROS = Uuid(), Text(), BigInteger()
_OPENED: _Types = {"id": _UUID, "kind": _TEXT, "organization_id": _UUID, "subject": _TEXT, "currency_code": _TEXT}
_OPEN = Query(
    upsert(accounts)
    .from_select(list(_OPENED), select(*_given(**_OPENED).c).order_by(literal_column("1")))
    .on_conflict_do_nothing()
)
_LOCK = Query(
    select(accounts.c.id, accounts.c.balance_micros)
    .where(accounts.c.id == any_(bindparam("ids", type_=ARRAY(_UUID))))
    .order_by(accounts.c.id)
    .with_for_update(key_share=True)
)
_POSTED: _Types = {
    "id": _UUID, "debit_account_id": _UUID, "credit_account_id": _UUID, "amount_micros": _MICROS,
    "currency_code": _TEXT, "kind": _TEXT, "reference": _UUID, "idempotency_key": _TEXT,
}  # fmt: skip
_POST = Query(insert(transfers).from_select(list(_POSTED), select(*_given(**_POSTED).c)))
_ASKED = _given(escrow_id=_UUID, idempotency_key=_TEXT)
_SEEN = Query(
    select(spends.c.escrow_id, spends.c.idempotency_key, spends.c.asked_micros, spends.c.posted_micros).where(
        spends.c.escrow_id == _ASKED.c.escrow_id, spends.c.idempotency_key == _ASKED.c.idempotency_key
    )
)
_SPENDS: _Types = {"escrow_id": _UUID, "idempotency_key": _TEXT, "asked_micros": _MICROS, "posted_micros": _MICROS}
_ADD_SPENDS = Query(insert(spends).from_select(list(_SPENDS), select(*_given(**_SPENDS).c)))


def _total(column: ColumnElement[int], kind: Kind) -> ColumnElement[int]:
    return cast(func.coalesce(func.sum(case((accounts.c.kind == kind.value, column), else_=0)), 0), BigInteger)


_BALANCE = Query(
    select(
        _total(accounts.c.balance_micros, Kind.AVAILABLE).label("available"),
        _total(accounts.c.balance_micros, Kind.ESCROW).label("held"),
        _total(accounts.c.credits_micros, Kind.SPENT).label("spent"),
    ).where(
        accounts.c.organization_id == bindparam("organization_id"),
        accounts.c.currency_code == bindparam("currency_code"),
    )
)
_OWNER = bindparam("organization_id", type_=_UUID)
# Every transfer of an escrow is with one of these two on the other side, so they find the escrows' transfers as well.
_OWN = (
    select(accounts.c.id, accounts.c.kind)
    .where(
        accounts.c.organization_id == _OWNER,
        accounts.c.currency_code == bindparam("currency_code"),
        or_(accounts.c.kind == Kind.AVAILABLE.value, accounts.c.kind == Kind.SPENT.value),
    )
    .cte("own")
)


def _newest(side: ColumnElement[UUID], *only: ColumnElement[bool]) -> Select[Any]:
    """The newest transfers that have one of these accounts on that side, as many as a page may need."""
    found = (
        select(transfers)
        .where(side == _OWN.c.id, transfers.c.id < bindparam("before"), transfers.c.id >= bindparam("since"))
        .order_by(transfers.c.id.desc())
        .limit(bindparam("most"))
        .lateral()
    )
    return select(found).select_from(_OWN.join(found, true())).where(*only)


# What leaves SPENT again goes to publishers and the platform: it stays spent.
_LINES = union(
    _newest(transfers.c.credit_account_id),
    _newest(transfers.c.debit_account_id, _OWN.c.kind == Kind.AVAILABLE.value),
).subquery("lines")
_DEBIT, _CREDIT = accounts.alias("debit"), accounts.alias("credit")


def _is(side: FromClause, kind: Kind) -> ColumnElement[int]:
    """1 where this side of a transfer is the organization's account of that kind, and 0 elsewhere."""
    return case((and_(side.c.organization_id == _OWNER, side.c.kind == kind.value), 1), else_=0)


_STATEMENT = Query(
    select(
        _LINES.c.id,
        _LINES.c.kind,
        _LINES.c.reference,
        (_LINES.c.amount_micros * (_is(_CREDIT, Kind.AVAILABLE) - _is(_DEBIT, Kind.AVAILABLE))).label("available"),
        (_LINES.c.amount_micros * (_is(_CREDIT, Kind.ESCROW) - _is(_DEBIT, Kind.ESCROW))).label("held"),
        (_LINES.c.amount_micros * _is(_CREDIT, Kind.SPENT)).label("spent"),
    )
    .join_from(_LINES, _DEBIT, _DEBIT.c.id == _LINES.c.debit_account_id)
    .join(_CREDIT, _CREDIT.c.id == _LINES.c.credit_account_id)
    .order_by(_LINES.c.id.desc())
    .limit(bindparam("most"))
)
_PUBLISHERS = (Kind.PUBLISHER_PENDING, Kind.PUBLISHER_PAYABLE, Kind.PUBLISHER_PAID)
# For a service, which names publishers of many organizations: 200 of them at most.
_OF_PUBLISHERS = Query(
    select(
        accounts.c.subject,
        accounts.c.currency_code,
        _total(accounts.c.balance_micros, Kind.PUBLISHER_PENDING).label("pending"),
        _total(accounts.c.balance_micros, Kind.PUBLISHER_PAYABLE).label("available"),
        _total(accounts.c.balance_micros, Kind.PUBLISHER_PAID).label("paid"),
    )
    .where(
        accounts.c.subject == any_(bindparam("publishers", type_=ARRAY(Text))),
        or_(*(accounts.c.kind == kind.value for kind in _PUBLISHERS)),
    )
    .group_by(accounts.c.subject, accounts.c.currency_code)
    .order_by(accounts.c.subject, accounts.c.currency_code)
)  # fmt: skip

_AMOUNT = transfers.c.amount_micros
_SIDES = union_all(
    select(transfers.c.debit_account_id.label("account_id"), _AMOUNT.label("debit"), literal(0).label("credit")),
    select(transfers.c.credit_account_id, literal(0), _AMOUNT),
).subquery("sides")
_DERIVED = (
    select(
        _SIDES.c.account_id,
        func.sum(_SIDES.c.debit).label("debits"),
        func.sum(_SIDES.c.credit).label("credits"),
    )
    .group_by(_SIDES.c.account_id)
    .subquery("derived")
)
_COUNTED = (
    select(transfers.c.currency_code, func.count().label("number")).group_by(transfers.c.currency_code).subquery()
)
_VERIFY = Query(
    select(
        accounts.c.currency_code,
        cast(func.sum(accounts.c.balance_micros), BigInteger).label("sum"),
        cast(
            func.sum(
                func.abs(accounts.c.debits_micros - func.coalesce(_DERIVED.c.debits, 0))
                + func.abs(accounts.c.credits_micros - func.coalesce(_DERIVED.c.credits, 0))
            ),
            BigInteger,
        ).label("difference"),
        func.count().label("accounts"),
        func.coalesce(func.max(_COUNTED.c.number), 0).label("transfers"),
    )
    .select_from(
        accounts.outerjoin(_DERIVED, _DERIVED.c.account_id == accounts.c.id).outerjoin(
            _COUNTED, _COUNTED.c.currency_code == accounts.c.currency_code
        )
    )
    .group_by(accounts.c.currency_code)
    .order_by(accounts.c.currency_code)
)


def lock(tx: Transaction, touched: Collection[Account]) -> Mapping[Account, int]:
    """The accounts' balances, which stay as they are until this transaction ends; opens those that are not there."""
    ordered = sorted({account.id: account for account in touched}.items())
    ids = [id for id, _ in ordered]
    tx.execute(
        _OPEN,
        id=ids,
        kind=[account.kind.value for _, account in ordered],
        organization_id=[account.organization_id for _, account in ordered],
        subject=[account.subject for _, account in ordered],
        currency_code=[account.currency_code for _, account in ordered],
    )
    balances = {row.id: row.balance_micros for row in tx.all(_LOCK, ids=ids)}
    return {account: balances[id] for id, account in ordered}


def post(tx: Transaction, posted: Sequence[Transfer], ids: NewId) -> None:
    """Makes the transfers, all or none, between accounts that `lock` has opened.

    The database refuses, by CheckViolated, what would overdraw an account, and by UniqueViolated a key's second use.
    """
    if not posted:
        return
    tx.execute(
        _POST,
        id=[ids() for _ in posted],
        debit_account_id=[transfer.debit.id for transfer in posted],
        credit_account_id=[transfer.credit.id for transfer in posted],
        amount_micros=[transfer.amount_micros for transfer in posted],
        currency_code=[transfer.debit.currency_code for transfer in posted],
        kind=[transfer.kind for transfer in posted],
        reference=[transfer.reference for transfer in posted],
        idempotency_key=[transfer.key for transfer in posted],
    )


def posted_before(tx: Transaction, items: Sequence[Spend]) -> dict[tuple[UUID, str], int]:
    """What was posted for those of the items that are repeats, by escrow and key."""
    rows = tx.all(
        _SEEN,
        escrow_id=[item.escrow.account.id for item in items],
        idempotency_key=[item.key for item in items],
    )
    return {(row.escrow_id, row.idempotency_key): row.posted_micros for row in rows}


def add_spends(tx: Transaction, results: Sequence[tuple[Spend, int]]) -> None:
    """Remembers what was posted for each item."""
    if results:
        tx.execute(
            _ADD_SPENDS,
            escrow_id=[item.escrow.account.id for item, _ in results],
            idempotency_key=[item.key for item, _ in results],
            asked_micros=[item.amount_micros for item, _ in results],
            posted_micros=[posted for _, posted in results],
        )


def balance(db: Session, organization_id: UUID, currency_code: str) -> Balance:
    """The organization's money; zeros where it has none."""
    row = db.one(_BALANCE, organization_id=organization_id, currency_code=currency_code)
    if row is None:
        raise LookupError("an aggregate without GROUP BY has a row")
    return Balance(currency_code, row.available, row.held, row.spent)


def statement(
    db: Session, organization_id: UUID, currency_code: str, since: UUID, before: UUID, limit: int
) -> Sequence[Line]:
    """What changed the organization's balance, newest first, by transfers with ids from `since` to below `before`."""
    rows = db.all(
        _STATEMENT,
        organization_id=organization_id,
        currency_code=currency_code,
        since=since,
        before=before,
        most=limit,
    )
    return [Line(row.id, made_at(row.id), row.kind, row.reference, row.available, row.held, row.spent) for row in rows]


def of_publishers(db: Session, publisher_ids: Collection[UUID]) -> Sequence[PublisherBalance]:
    """What these publishers have, in each currency they ever had any in."""
    return [
        PublisherBalance(UUID(row.subject), row.currency_code, row.pending, row.available, row.paid)
        for row in db.all(_OF_PUBLISHERS, publishers=[str(id) for id in publisher_ids])
    ]


def verify(db: Session) -> Sequence[Books]:
    """Every balance derived anew from the transfers, summed up by currency, in one snapshot."""
    return [Books(row.currency_code, row.sum, row.difference, row.accounts, row.transfers) for row in db.all(_VERIFY)]
