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
from payment_service.ledger.model import Account, Kind, Outcome, Phase, Transfer
from payment_service.quarantine import store as quarantine
from payment_service.quarantine.model import Kind as ItemKind
from payment_service.tables import accounts, debt_changes, pendings, transfers

ColumnTypes = dict[str, TypeEngine[Any]]
UUID_TYPE, TEXT, MICROS, TIME = Uuid(), Text(), BigInteger(), DateTime(timezone=True)


def rows_from_arrays(**types: TypeEngine[Any]) -> TableValuedAlias:
    """A table whose columns are array parameters of one length, by column name."""
    arrays = [bindparam(name, type_=ARRAY(kind)) for name, kind in types.items()]
    return func.unnest(*arrays).table_valued(*types, name="given").render_derived()


_OPENED: ColumnTypes = {
    "id": UUID_TYPE,
    "kind": TEXT,
    "organization_id": UUID_TYPE,
    "subject": TEXT,
    "currency_code": TEXT,
}
_OPEN = Query(
    upsert(accounts)
    .from_select(list(_OPENED), select(*rows_from_arrays(**_OPENED).c).order_by(literal_column("1")))
    .on_conflict_do_nothing()
    .returning(accounts.c.id)
)
# The balance less the reserved amount; the whole balance of a DEBT.
_AVAILABLE = case(
    (accounts.c.kind == Kind.DEBT.value, accounts.c.balance_micros),
    else_=accounts.c.balance_micros - accounts.c.debits_pending_micros,
).label("available")
_READ: Select[Any] = select(accounts.c.id, _AVAILABLE).where(
    accounts.c.id == any_(bindparam("ids", type_=ARRAY(UUID_TYPE)))
)
_LOCK = Query(_READ.order_by(accounts.c.id).with_for_update(key_share=True))
_GET = Query(_READ)


class _Postings(UserDefinedType[str]):
    """An array of the composite type `posting`: transfers to be posted."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """The name of the type in PostgreSQL."""
        return "posting[]"


_POSTINGS = cast(bindparam("postings"), _Postings())
_POSTED = (
    "id", "debit_account_id", "credit_account_id", "amount_micros", "currency_code", "kind", "reference",
    "idempotency_key", "phase", "expires_at",
)  # fmt: skip
_NEW = func.unnest(_POSTINGS).table_valued(*_POSTED, "pending_key", name="made")
_ENDED = transfers.alias("ended")
_PENDING_ID: ColumnElement[UUID] = case(
    (
        _NEW.c.pending_key.is_not(None),
        select(_ENDED.c.id).where(_ENDED.c.idempotency_key == _NEW.c.pending_key).scalar_subquery(),
    )
)
_POST = Query(
    insert(transfers).from_select([*_POSTED, "pending_id"], select(*(_NEW.c[name] for name in _POSTED), _PENDING_ID))
)
_FAILED = func.post_chains(_POSTINGS).table_valued("chain", "outcome", name="failed")
_POST_CHAINS = Query(select(_FAILED.c.chain, _FAILED.c.outcome))
_OUTCOMES = {"accounts_floor": Outcome.INSUFFICIENT_FUNDS} | {outcome.value: outcome for outcome in Outcome}
_MISSING = "ACCOUNT_MISSING"

_POSTED_BY_KEY = Query(
    select(transfers.c.debit_account_id, transfers.c.amount_micros).where(
        transfers.c.idempotency_key == bindparam("transfer_key")
    )
)
_mark = upsert(debt_changes).values(
    organization_id=bindparam("organization", type_=UUID_TYPE), currency_code=bindparam("currency", type_=TEXT)
)
_MARK = Query(
    _mark.on_conflict_do_update(
        index_elements=["organization_id", "currency_code"], set_={"version": debt_changes.c.version + 1}
    )
)
_EXPIRED_ANY_TENANT = Query(
    select(pendings.c.transfer_id)
    .where(
        pendings.c.expires_at <= bindparam("at", type_=TIME),
        quarantine.is_free(ItemKind.RESERVATION, pendings.c.transfer_id),
    )
    .order_by(pendings.c.expires_at)
    .limit(bindparam("most"))
)
_DEBIT, _CREDIT = accounts.alias("debit"), accounts.alias("credit")
_SIDE_FIELDS = ("kind", "currency_code", "organization_id", "subject")
_GET_ANY_TENANT = Query(
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
    """Creates the accounts that do not exist, with a balance of zero."""
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
    """Locks the accounts until this transaction ends and returns their available balances; of a DEBT, 0 or below.

    Creates accounts that do not exist.
    """
    open_accounts(tx, touched)
    return _available(tx, _LOCK, touched)


def available(session: Session, touched: Collection[Account]) -> Mapping[Account, int]:
    """The available balances without a lock; 0 of accounts that do not exist."""
    return _available(session, _GET, touched)


def _available(session: Session, query: Query, touched: Collection[Account]) -> Mapping[Account, int]:
    by_id = {account.id: account for account in touched}
    found = {row.id: row.available for row in session.all(query, ids=list(by_id))}
    return {account: found.get(id, 0) for id, account in by_id.items()}


def post(tx: Transaction, posted: Sequence[Transfer], ids: NewId) -> None:
    """Posts the transfers, all or none, between accounts that `lock` has returned; debts that change are marked.

    CheckViolated if an account would be overdrawn or a debt left unpaid (accounts_...), or if the transfer to end is
    not pending or has expired (transfers_pending, transfers_expired). UniqueViolated if a key is used twice
    (transfers_once) or a transfer is ended twice (transfers_ended).
    """
    if not posted:
        return
    tx.execute(_POST, postings=_array([_posting(1, one, ids()) for one in posted]))
    sides = [side for one in posted for side in (one.debit, one.credit)]
    mark_debts(
        tx, {(one.organization_id, one.currency_code) for one in sides if one.kind is Kind.DEBT and one.organization_id}
    )


def mark_debts(tx: Transaction, owners: Collection[tuple[UUID, str]]) -> None:
    """Queues the debts of these organizations in these currencies to be settled after this transaction commits."""
    for organization_id, currency_code in sorted(owners):
        tx.execute(_MARK, organization=organization_id, currency=currency_code)


def post_chains(
    session: Session, chains: Sequence[Sequence[Transfer]], ids: NewId, answers: Sequence[str] = ()
) -> list[Outcome]:
    """Posts each chain in full or not at all, independently of the others, in one statement.

    Creates accounts that do not exist, and locks all in the order of their ids. `answers`: each chain's key in
    `spends`, where an earlier, partial result may be stored. Safe to repeat after a lost connection: keys are unique.
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
    """The transfer as a literal in an array of `posting`; a dozen parameters would take psycopg 80 µs."""
    debit, credit = made.debit, made.credit
    return (
        f'"({chain},{id},{debit.id},{credit.id},{made.amount_micros},{_text(debit.currency_code)},{_text(made.kind)},'
        f"{made.reference},{_text(made.key)},{made.phase.value},"
        f"{made.expires_at.isoformat() if made.expires_at else ''},"
        f'{_text(made.pending_key) if made.pending_key else ""},{"" if answer is None else _text(answer)})"'
    )


def _text(value: str) -> str:
    """The text quoted for a row inside an array literal, where each quote is escaped twice."""
    if "\\" in value or '"' in value:
        value = value.replace("\\", r"\\\\").replace('"', r"\\\"")
    return rf"\"{value}\""


def debit_by_key(tx: Transaction, key: str) -> tuple[UUID, int] | None:
    """The debited account and the amount of the transfer with this key; None if there is none."""
    row = tx.one(_POSTED_BY_KEY, transfer_key=key)
    return (row.debit_account_id, row.amount_micros) if row else None


def expired_any_tenant(session: Session, at: datetime, limit: int) -> Sequence[UUID]:
    """PENDING transfers whose expiry is at or before `at`, oldest first."""
    return [row.transfer_id for row in session.all(_EXPIRED_ANY_TENANT, at=at, most=limit)]


def pending_any_tenant(session: Session, transfer_id: UUID) -> Transfer | None:
    """The PENDING transfer with this id; None once it has ended."""
    row = session.one(_GET_ANY_TENANT, transfer=transfer_id)
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
