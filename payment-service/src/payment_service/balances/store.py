"""Balances, statements and the verification of the ledger, in the database."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    cast,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    union,
    union_all,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from adlib.db import Query, Session
from adlib.ids import creation_time
from payment_service.balances.model import Balance, PublisherBalance, StatementLine, Verification
from payment_service.ledger.model import Kind, Phase
from payment_service.tables import accounts, payments, transfers

_UUID = Uuid()
_PHASES_THAT_MOVE = (Phase.POSTED, Phase.COMPLETED)
_OWNER = bindparam("organization_id", type_=_UUID)
_OWNED = and_(accounts.c.organization_id == _OWNER, accounts.c.currency_code == bindparam("currency_code"))


def _micros(column: ColumnElement[Any], label: str) -> ColumnElement[int]:
    """The sum of a column; 0 without rows."""
    return cast(func.coalesce(func.sum(column), 0), BigInteger).label(label)


def _is_one_of(column: ColumnElement[str], *values: str) -> ColumnElement[bool]:
    return or_(*(column == str(value) for value in values))


def _total(column: ColumnElement[int], label: str, *kinds: Kind) -> ColumnElement[int]:
    return _micros(case((_is_one_of(accounts.c.kind, *kinds), column), else_=0), label)


_AVAILABLE = accounts.c.balance_micros - accounts.c.debits_pending_micros
_NOW = select(
    _total(_AVAILABLE, "available", Kind.AVAILABLE),
    _total(_AVAILABLE, "held", Kind.ESCROW),
    _total(accounts.c.credits_micros, "spent", Kind.SPENT),
    _total(accounts.c.debits_pending_micros, "reserved", Kind.AVAILABLE, Kind.ESCROW),
    _total(-accounts.c.balance_micros, "debt", Kind.DEBT),
).where(_OWNED)
_BALANCE = Query(_NOW)

# Every transfer of an escrow has one of these accounts on the other side, so escrows are covered as well.
_OWN = (
    select(accounts.c.id, accounts.c.kind)
    .where(_OWNED, _is_one_of(accounts.c.kind, Kind.AVAILABLE, Kind.SPENT, Kind.DEBT))
    .cte("own")
)
_RANGE = and_(transfers.c.id < bindparam("before", type_=_UUID), transfers.c.id >= bindparam("since", type_=_UUID))


def _of_own(side: ColumnElement[UUID], *only: ColumnElement[bool], is_paged: bool) -> Select[Any]:
    """The transfers with one of these accounts on that side: the newest for one page, or all."""
    found = select(transfers).where(side == _OWN.c.id, _RANGE)
    if is_paged:
        found = found.order_by(transfers.c.id.desc()).limit(bindparam("most"))
    part = found.lateral()
    return select(part).select_from(_OWN.join(part, true())).where(*only)


_DEBIT, _CREDIT = accounts.alias("debit"), accounts.alias("credit")


def _is(side: FromClause, kind: Kind) -> ColumnElement[int]:
    """1 if this side of the transfer is the organization's account of that kind, else 0."""
    return case((and_(side.c.organization_id == _OWNER, side.c.kind == kind.value), 1), else_=0)


def _lines(*, is_paged: bool) -> Select[Any]:
    """Each transfer of the organization with the change of each figure of the balance."""
    # Transfers out of SPENT, to publishers and the platform, still count as spent.
    found = union(
        _of_own(transfers.c.credit_account_id, is_paged=is_paged),
        _of_own(transfers.c.debit_account_id, _OWN.c.kind != Kind.SPENT.value, is_paged=is_paged),
    ).subquery("lines")
    phase, amount, freed = found.c.phase, found.c.amount_micros, func.coalesce(found.c.freed_micros, 0)
    moved = case((_is_one_of(phase, *_PHASES_THAT_MOVE), amount), else_=0)
    reserved = case((phase == Phase.PENDING.value, amount), else_=-freed)

    def available(kind: Kind) -> ColumnElement[int]:
        """The change of the available balance of that kind, which excludes reservations."""
        return moved * _is(_CREDIT, kind) - (moved + reserved) * _is(_DEBIT, kind)

    return (
        select(
            found.c.id,
            found.c.kind,
            found.c.phase,
            found.c.reference,
            available(Kind.AVAILABLE).label("available"),
            available(Kind.ESCROW).label("held"),
            (moved * _is(_CREDIT, Kind.SPENT)).label("spent"),
            (reserved * (_is(_DEBIT, Kind.AVAILABLE) + _is(_DEBIT, Kind.ESCROW))).label("reserved"),
            (moved * (_is(_DEBIT, Kind.DEBT) - _is(_CREDIT, Kind.DEBT))).label("debt"),
        )
        .join_from(found, _DEBIT, _DEBIT.c.id == found.c.debit_account_id)
        .join(_CREDIT, _CREDIT.c.id == found.c.credit_account_id)
    )


_PAGE = _lines(is_paged=True)
_LINE = _PAGE.order_by(_PAGE.selected_columns.id.desc()).limit(bindparam("most")).subquery("line")
_CAMPAIGN = accounts.alias("campaign")
_HAS_CAMPAIGN = (
    select(literal(1))
    .where(
        _CAMPAIGN.c.subject == cast(_LINE.c.reference, Text),
        _CAMPAIGN.c.organization_id == _OWNER,
        _CAMPAIGN.c.kind == Kind.ESCROW.value,
    )
    .exists()
)
_HAS_PAYMENT = (
    select(literal(1)).where(payments.c.id == _LINE.c.reference, payments.c.organization_id == _OWNER).exists()
)
_OF_CAMPAIGNS, _OF_EITHER = ("HOLD", "RELEASE", "SPEND"), ("DEBT_REPAYMENT", "CORRECTION")
_STATEMENT = Query(
    select(
        *_LINE.c,
        # Debt is repaid by a payment or by a released hold; a correction may be about either.
        case(
            (_is_one_of(_LINE.c.kind, *_OF_CAMPAIGNS), "campaign"),
            (not_(_is_one_of(_LINE.c.kind, *_OF_EITHER)), "payment"),
            (_HAS_CAMPAIGN, "campaign"),
            (or_(_LINE.c.kind != "CORRECTION", _HAS_PAYMENT), "payment"),
            else_="",
        ).label("about"),
    ).order_by(_LINE.c.id.desc())
)
_SINCE = _lines(is_paged=False).subquery("since_then")
_CURRENT = _NOW.subquery("current")
# The current balance less the later changes, because the requested time is usually recent. One statement, one snapshot.
_BALANCE_AT = Query(
    select(
        *(
            (_CURRENT.c[name] - select(_micros(_SINCE.c[name], name)).scalar_subquery()).label(name)
            for name in ("available", "held", "spent", "reserved", "debt")
        )
    )
)

_PUBLISHERS = (Kind.PUBLISHER_PENDING, Kind.PUBLISHER_PAYABLE, Kind.PUBLISHER_PAID, Kind.PUBLISHER_ON_HOLD)
# Called by a service with publishers of many organizations, at most 200.
_OF_PUBLISHERS = Query(
    select(
        accounts.c.subject,
        accounts.c.currency_code,
        _total(accounts.c.balance_micros, "pending", Kind.PUBLISHER_PENDING),
        _total(accounts.c.balance_micros, "available", Kind.PUBLISHER_PAYABLE),
        _total(accounts.c.balance_micros, "paid", Kind.PUBLISHER_PAID),
        _total(accounts.c.balance_micros, "on_hold", Kind.PUBLISHER_ON_HOLD),
    )
    .where(
        accounts.c.subject == any_(bindparam("publishers", type_=ARRAY(Text))),
        _is_one_of(accounts.c.kind, *_PUBLISHERS),
    )
    .group_by(accounts.c.subject, accounts.c.currency_code)
    .order_by(accounts.c.subject, accounts.c.currency_code)
)
_MOVED = case((_is_one_of(transfers.c.phase, *_PHASES_THAT_MOVE), transfers.c.amount_micros), else_=0)
_RESERVED = case(
    (transfers.c.phase == Phase.PENDING.value, transfers.c.amount_micros),
    else_=-func.coalesce(transfers.c.freed_micros, 0),
)
_FIGURES = ("debits_micros", "credits_micros", "debits_pending_micros", "credits_pending_micros")
_SIDES = union_all(
    *(
        select(side.label("account_id"), *(figure.label(name) for name, figure in zip(_FIGURES, figures, strict=True)))
        for side, figures in (
            (transfers.c.debit_account_id, (_MOVED, literal(0), _RESERVED, literal(0))),
            (transfers.c.credit_account_id, (literal(0), _MOVED, literal(0), _RESERVED)),
        )
    )
).subquery("sides")
_DERIVED = (
    select(_SIDES.c.account_id, *(func.sum(_SIDES.c[name]).label(name) for name in _FIGURES))
    .group_by(_SIDES.c.account_id)
    .subquery("derived")
)
_COUNTED = (
    select(transfers.c.currency_code, func.count().label("number")).group_by(transfers.c.currency_code).subquery()
)
_MAY_BE_NEGATIVE = _is_one_of(accounts.c.kind, Kind.DEBT, Kind.PROVIDER_CLEARING, Kind.FEES)
_OVERDRAWN = or_(
    and_(not_(_MAY_BE_NEGATIVE), _AVAILABLE < 0),
    and_(accounts.c.kind == Kind.DEBT.value, accounts.c.balance_micros > 0),
)
# Deposits of each payment, less their reversals.
_CREDITED = (
    select(
        transfers.c.reference,
        transfers.c.currency_code,
        func.sum(case((transfers.c.kind == "DEPOSIT", transfers.c.amount_micros), else_=-transfers.c.amount_micros))
        .label("paid"),
    )
    .where(_is_one_of(transfers.c.kind, "DEPOSIT", "REVERSAL"))
    .group_by(transfers.c.reference, transfers.c.currency_code)
    .subquery("credited")
)  # fmt: skip
_PAYMENTS_DIFFERING = (
    select(
        payments.c.currency_code,
        func.count().label("number"),
        # Enough for an operator to investigate; `number` has the total.
        func.array_agg(aggregate_order_by(cast(payments.c.id, Text), payments.c.id))[1:20].label("ids"),
    )
    .select_from(
        payments.outerjoin(
            _CREDITED,
            and_(_CREDITED.c.reference == payments.c.id, _CREDITED.c.currency_code == payments.c.currency_code),
        )
    )
    .where(payments.c.paid_micros != func.coalesce(_CREDITED.c.paid, 0))
    .group_by(payments.c.currency_code)
    .subquery("differing")
)
_VERIFY = Query(
    select(
        accounts.c.currency_code,
        _micros(accounts.c.balance_micros, "sum"),
        _micros(
            sum(
                (func.abs(accounts.c[name] - func.coalesce(_DERIVED.c[name], 0)) for name in _FIGURES[1:]),
                func.abs(accounts.c[_FIGURES[0]] - func.coalesce(_DERIVED.c[_FIGURES[0]], 0)),
            ),
            "difference",
        ),
        func.count().label("accounts"),
        func.count().filter(_OVERDRAWN).label("overdrawn"),
        func.coalesce(func.max(_COUNTED.c.number), 0).label("transfers"),
        func.coalesce(func.max(_PAYMENTS_DIFFERING.c.number), 0).label("payments_differing"),
        func.max(_PAYMENTS_DIFFERING.c.ids).label("differing_ids"),
    )
    .select_from(
        accounts.outerjoin(_DERIVED, _DERIVED.c.account_id == accounts.c.id)
        .outerjoin(_COUNTED, _COUNTED.c.currency_code == accounts.c.currency_code)
        .outerjoin(_PAYMENTS_DIFFERING, _PAYMENTS_DIFFERING.c.currency_code == accounts.c.currency_code)
    )
    .group_by(accounts.c.currency_code)
    .order_by(accounts.c.currency_code)
)


def balance(db: Session, organization_id: UUID, currency_code: str, before: UUID | None = None) -> Balance:
    """The organization's balance, zeros if it has none; with `before`, of the transfers with lower ids only."""
    asked: dict[str, Any] = {"organization_id": organization_id, "currency_code": currency_code}
    if before is None:
        row = db.one(_BALANCE, **asked)
    else:
        row = db.one(_BALANCE_AT, **asked, since=before, before=UUID(int=(1 << 128) - 1))
    if row is None:
        raise LookupError("an aggregate without GROUP BY has a row")
    return Balance(currency_code, row.available, row.held, row.spent, row.reserved, row.debt)


def statement(
    db: Session, organization_id: UUID, currency_code: str, since: UUID, before: UUID, limit: int
) -> Sequence[StatementLine]:
    """The changes of the organization's balance by transfers with ids in [`since`, `before`), newest first."""
    rows = db.all(
        _STATEMENT,
        organization_id=organization_id,
        currency_code=currency_code,
        since=since,
        before=before,
        most=limit,
    )
    return [
        StatementLine(
            row.id, creation_time(row.id), row.kind, Phase(row.phase), row.reference if row.about else None,
            row.about == "campaign", row.available, row.held, row.spent, row.reserved, row.debt,
        )
        for row in rows
    ]  # fmt: skip


def of_publishers_any_tenant(db: Session, publisher_ids: Collection[UUID]) -> Sequence[PublisherBalance]:
    """The balances of these publishers, in each currency that they have accounts in."""
    return [
        PublisherBalance(UUID(row.subject), row.currency_code, row.pending, row.available, row.paid, row.on_hold)
        for row in db.all(_OF_PUBLISHERS, publishers=[str(id) for id in publisher_ids])
    ]


def verify_any_tenant(db: Session) -> Sequence[Verification]:
    """Derives every balance from the transfers and sums the differences by currency, in one snapshot."""
    return [
        Verification(
            row.currency_code, row.sum, row.difference, row.overdrawn, row.payments_differing, row.accounts,
            row.transfers, tuple(UUID(id) for id in row.differing_ids or ()),
        )
        for row in db.all(_VERIFY)
    ]  # fmt: skip
