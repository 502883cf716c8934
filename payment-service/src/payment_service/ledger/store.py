"""Accounts and transfers in the database."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    DateTime,
    LargeBinary,
    Select,
    TableValuedAlias,
    Text,
    Uuid,
    any_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.types import TypeEngine, UserDefinedType

from adlib.db import Query, Session, Transaction
from adlib.ids import NewId
from payment_service.ledger.model import Account, Answered, Kind, Outcome, Phase, Spend, Transfer
from payment_service.quarantine import store as quarantine
from payment_service.quarantine.model import Kind as ItemKind
from payment_service.tables import accounts, debt_changes, pendings, spends, transfers


def _given(**types: TypeEngine[Any]) -> TableValuedAlias:
    """Arrays of the same length, a parameter each, as a table."""
    arrays = [bindparam(name, type_=ARRAY(kind)) for name, kind in types.items()]
    return func.unnest(*arrays).table_valued(*types, name="given").render_derived()


_Types = dict[str, TypeEngine[Any]]
_UUID, _TEXT, _MICROS, _TIME = Uuid(), Text(), BigInteger(), DateTime(timezone=True)
_OPENED: _Types = {"id": _UUID, "kind": _TEXT, "organization_id": _UUID, "subject": _TEXT, "currency_code": _TEXT}
_OPEN = Query(
    upsert(accounts)
    .from_select(list(_OPENED), select(*_given(**_OPENED).c).order_by(literal_column("1")))
    .on_conflict_do_nothing()
    .returning(accounts.c.id)
)
# What can be taken: what is set aside is not, and a debt is what it is.
_TAKEABLE = case(
    (accounts.c.kind == Kind.DEBT.value, accounts.c.balance_micros),
    else_=accounts.c.balance_micros - accounts.c.debits_pending_micros,
).label("takeable")
_READ: Select[Any] = select(accounts.c.id, _TAKEABLE).where(accounts.c.id == any_(bindparam("ids", type_=ARRAY(_UUID))))
_LOCK = Query(_READ.order_by(accounts.c.id).with_for_update(key_share=True))
_TAKEABLES = Query(_READ)


class _Postings(UserDefinedType[str]):
    """Transfers as the database has them before they are posted."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Its name there."""
        return "posting[]"


_POSTINGS = cast(bindparam("postings"), _Postings())
_POSTED = (
    "id", "debit_account_id", "credit_account_id", "amount_micros", "currency_code", "kind", "reference",
    "idempotency_key", "phase", "expires_at",
)  # fmt: skip
_MADE = func.unnest(_POSTINGS).table_valued(*_POSTED, "pending_key", name="made")
_ENDED = transfers.alias("ended")
_PENDING_ID: ColumnElement[UUID] = case(
    (
        _MADE.c.pending_key.is_not(None),
        select(_ENDED.c.id).where(_ENDED.c.idempotency_key == _MADE.c.pending_key).scalar_subquery(),
    )
)
_POST = Query(
    insert(transfers).from_select([*_POSTED, "pending_id"], select(*(_MADE.c[name] for name in _POSTED), _PENDING_ID))
)
_FAILED = func.post_chains(_POSTINGS).table_valued("chain", "outcome", name="failed")
_POST_CHAINS = Query(select(_FAILED.c.chain, _FAILED.c.outcome))
_OUTCOMES = {"accounts_floor": Outcome.INSUFFICIENT_FUNDS} | {outcome.value: outcome for outcome in Outcome}
_MISSING = "ACCOUNT_MISSING"

_ASKED = _given(escrow_id=_UUID, item_key=_TEXT, transfer_key=_TEXT, share_key=_TEXT)
_TAKEN, _SHARED = transfers.alias("taken"), transfers.alias("shared")
_POSTED_MICROS = func.coalesce(spends.c.posted_micros, _TAKEN.c.amount_micros).label("posted_micros")
_ANSWERED = Query(
    select(
        _ASKED.c.escrow_id,
        _ASKED.c.item_key,
        func.coalesce(spends.c.asked_micros, _TAKEN.c.amount_micros).label("asked_micros"),
        _POSTED_MICROS,
        spends.c.content_hash,
        _SHARED.c.credit_account_id.label("payable_id"),
        func.coalesce(_SHARED.c.amount_micros, 0).label("shared_micros"),
    )
    .select_from(
        _ASKED.outerjoin(
            spends, (spends.c.escrow_id == _ASKED.c.escrow_id) & (spends.c.idempotency_key == _ASKED.c.item_key)
        )
        .outerjoin(_TAKEN, _TAKEN.c.idempotency_key == _ASKED.c.transfer_key)
        .outerjoin(_SHARED, _SHARED.c.idempotency_key == _ASKED.c.share_key)
    )
    .where(_POSTED_MICROS.is_not(None))
)
_POSTED_BY_KEY = Query(
    select(transfers.c.debit_account_id, transfers.c.amount_micros).where(
        transfers.c.idempotency_key == bindparam("transfer_key")
    )
)
_SPENDS: _Types = {
    "escrow_id": _UUID, "idempotency_key": _TEXT, "asked_micros": _MICROS, "posted_micros": _MICROS,
    "content_hash": LargeBinary(),
}  # fmt: skip
_ADD_SPENDS = Query(insert(spends).from_select(list(_SPENDS), select(*_given(**_SPENDS).c)))
_mark = upsert(debt_changes).values(
    organization_id=bindparam("organization", type_=_UUID), currency_code=bindparam("currency", type_=_TEXT)
)
_MARK = Query(
    _mark.on_conflict_do_update(
        index_elements=["organization_id", "currency_code"], set_={"version": debt_changes.c.version + 1}
    )
)
_EXPIRED_OF_ANYONE = Query(
    select(pendings.c.transfer_id)
    .where(
        pendings.c.expires_at <= bindparam("at", type_=_TIME),
        quarantine.is_free(ItemKind.RESERVATION, pendings.c.transfer_id),
    )
    .order_by(pendings.c.expires_at)
    .limit(bindparam("most"))
)
_DEBIT, _CREDIT = accounts.alias("debit"), accounts.alias("credit")
_SIDE_FIELDS = ("kind", "currency_code", "organization_id", "subject")
_GET_OF_ANYONE = Query(
    select(
        transfers.c.kind, transfers.c.amount_micros, transfers.c.reference, transfers.c.idempotency_key,
        *(side.c[name].label(f"{side.name}_{name}") for side in (_DEBIT, _CREDIT) for name in _SIDE_FIELDS),
    )
    .join_from(transfers, _DEBIT, _DEBIT.c.id == transfers.c.debit_account_id)
    .join(_CREDIT, _CREDIT.c.id == transfers.c.credit_account_id)
    .where(transfers.c.id == bindparam("transfer"))
)  # fmt: skip
_IS_OPEN = Query(select(pendings.c.transfer_id).where(pendings.c.transfer_id == bindparam("transfer")))


def open_accounts(session: Session, touched: Collection[Account]) -> None:
    """Opens those of the accounts that are not there, which changes nothing for anybody."""
    ordered = sorted({account.id: account for account in touched}.items())
    session.all(
        _OPEN,
        id=[id for id, _ in ordered],
        kind=[account.kind.value for _, account in ordered],
        organization_id=[account.organization_id for _, account in ordered],
        subject=[account.subject for _, account in ordered],
        currency_code=[account.currency_code for _, account in ordered],
    )


def lock(tx: Transaction, touched: Collection[Account]) -> Mapping[Account, int]:
    """What can be taken from each, which stays as it is until this transaction ends; a DEBT's balance, 0 or below.

    Opens those that are not there.
    """
    open_accounts(tx, touched)
    return _takeable(tx, _LOCK, touched)


def takeable(session: Session, touched: Collection[Account]) -> Mapping[Account, int]:
    """The same as it is now; 0 for those that are not there."""
    return _takeable(session, _TAKEABLES, touched)


def _takeable(session: Session, query: Query, touched: Collection[Account]) -> Mapping[Account, int]:
    by_id = {account.id: account for account in touched}
    found = {row.id: row.takeable for row in session.all(query, ids=list(by_id))}
    return {account: found.get(id, 0) for id, account in by_id.items()}


def post(tx: Transaction, posted: Sequence[Transfer], ids: NewId) -> None:
    """Makes the transfers, all or none, between accounts that `lock` has opened.

    The database refuses, by CheckViolated, what would overdraw an account or leave a debt unpaid (accounts_...), or
    ends what is not pending or has expired (transfers_pending, transfers_expired); and by UniqueViolated a key's second
    use (transfers_once), or a second end (transfers_ended). Whatever changes a debt marks it.
    """
    if not posted:
        return
    tx.execute(_POST, postings=_array([_posting(1, one, ids()) for one in posted]))
    sides = [side for one in posted for side in (one.debit, one.credit)]
    mark_debts(
        tx, {(one.organization_id, one.currency_code) for one in sides if one.kind is Kind.DEBT and one.organization_id}
    )


def mark_debts(tx: Transaction, whose: Collection[tuple[UUID, str]]) -> None:
    """Has it looked into what these organizations owe in these currencies, once this transaction has taken effect."""
    for organization_id, currency_code in sorted(whose):
        tx.execute(_MARK, organization=organization_id, currency=currency_code)


def post_chains(
    session: Session, chains: Sequence[Sequence[Transfer]], ids: NewId, answers: Sequence[str] = ()
) -> list[Outcome]:
    """Posts each chain whole or not at all, whatever becomes of the others; one statement for all of them.

    It opens accounts that are not there, and locks all of them in the order of ids. `answers`: what each chain is
    called where `add_spends` may have answered it before. A call whose connection died may be made again: keys make
    that harmless.
    """
    postings = _array(
        [
            _posting(number, transfer, ids(), answers[number - 1] if answers and not place else None)
            for number, chain in enumerate(chains, 1)
            for place, transfer in enumerate(chain)
        ]
    )
    failed = session.all(_POST_CHAINS, postings=postings)
    if failed and failed[0].outcome == _MISSING:
        open_accounts(session, {side for chain in chains for one in chain for side in (one.debit, one.credit)})
        failed = session.all(_POST_CHAINS, postings=postings)
    outcomes = [Outcome.POSTED] * len(chains)
    for row in failed:
        outcomes[row.chain - 1] = _OUTCOMES.get(row.outcome, Outcome.REFUSED)
    return outcomes


def _array(postings: Sequence[str]) -> str:
    return f"{{{','.join(postings)}}}"


def _posting(chain: int, made: Transfer, id: UUID, answer: str | None = None) -> str:
    """A transfer as PostgreSQL writes one in an array of `posting`: psycopg takes 80 µs for a dozen parameters."""
    debit, credit = made.debit, made.credit
    return (
        f'"({chain},{id},{debit.id},{credit.id},{made.amount_micros},{_text(debit.currency_code)},{_text(made.kind)},'
        f"{made.reference},{_text(made.key)},{made.phase.value},"
        f"{made.expires_at.isoformat() if made.expires_at else ''},"
        f'{_text(made.pending_key) if made.pending_key else ""},{"" if answer is None else _text(answer)})"'
    )


def _text(value: str) -> str:
    """Any text in a row in an array, which has quotes in quotes."""
    if "\\" in value or '"' in value:
        value = value.replace("\\", r"\\\\").replace('"', r"\\\"")
    return rf"\"{value}\""


def answered_before(tx: Transaction, items: Sequence[Spend]) -> dict[tuple[UUID, str], Answered]:
    """What was answered for those of the items whose keys were used before, by escrow and key."""
    rows = tx.all(
        _ANSWERED,
        escrow_id=[item.escrow.account.id for item in items],
        item_key=[item.key for item in items],
        transfer_key=[item.transfer_key for item in items],
        share_key=[item.share_key for item in items],
    )
    return {
        (row.escrow_id, row.item_key): Answered(
            row.asked_micros, row.posted_micros, row.content_hash, row.payable_id, row.shared_micros
        )
        for row in rows
    }


def posted_from(tx: Transaction, key: str) -> tuple[UUID, int] | None:
    """Which account the transfer with this key took from, and how much; None where there is none."""
    row = tx.one(_POSTED_BY_KEY, transfer_key=key)
    return (row.debit_account_id, row.amount_micros) if row else None


def add_spends(tx: Transaction, results: Sequence[tuple[Spend, int]]) -> None:
    """Remembers what was posted for items that were not posted in whole: transfers tell of the others."""
    if results:
        tx.execute(
            _ADD_SPENDS,
            escrow_id=[item.escrow.account.id for item, _ in results],
            idempotency_key=[item.key for item, _ in results],
            asked_micros=[item.amount_micros for item, _ in results],
            posted_micros=[posted for _, posted in results],
            content_hash=[item.content_hash for item, _ in results],
        )


def expired_of_anyone(session: Session, at: datetime, limit: int) -> Sequence[UUID]:
    """PENDING transfers that could be completed until then at the latest, and have not ended; oldest first."""
    return [row.transfer_id for row in session.all(_EXPIRED_OF_ANYONE, at=at, most=limit)]


def pending_of_anyone(session: Session, transfer_id: UUID) -> Transfer | None:
    """The PENDING transfer with this id, as it was made; None once it has ended."""
    row = session.one(_GET_OF_ANYONE, transfer=transfer_id)
    if row is None or session.one(_IS_OPEN, transfer=transfer_id) is None:
        return None
    return Transfer(
        row.kind,
        Account(Kind(row.debit_kind), row.debit_currency_code, row.debit_organization_id, row.debit_subject),
        Account(Kind(row.credit_kind), row.credit_currency_code, row.credit_organization_id, row.credit_subject),
        row.amount_micros,
        row.reference,
        row.idempotency_key,
        Phase.PENDING,
    )
