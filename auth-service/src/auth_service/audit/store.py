"""Audit logs in the database: rows are appended to their organization's chain and never changed."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from itertools import product
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, bindparam, func, insert, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from adlib.db import Query, Session, Transaction
from auth_service.audit.model import CHAIN_START, GENESIS, ChainPosition, Entry, Filter, LogRow
from auth_service.tables import audit_heads, audit_logs, organizations

_ids = bindparam("ids", type_=ARRAY(Uuid))
_its_own = audit_logs.c.organization_id == bindparam("organization_id")

_EXISTING_ORGANIZATIONS = Query(select(organizations.c.id).where(organizations.c.id == any_(_ids)))
# A literal: PostgreSQL uses the partial index only for a literal.
_PLATFORM = Query(select(organizations.c.id).where(organizations.c.kind == literal_column("'PLATFORM'")))
_ADD_HEADS = Query(
    upsert(audit_heads)
    .values(organization_id=bindparam("organization_id"), sequence=0, hash=GENESIS)
    .on_conflict_do_nothing()
)
_LOCK = Query(
    select(audit_heads)
    .where(audit_heads.c.organization_id == any_(_ids))
    .order_by(audit_heads.c.organization_id)
    .with_for_update()
)
_EXISTING_ENTRIES = Query(select(audit_logs.c.id).where(audit_logs.c.id == any_(_ids)))
_ADD = Query(insert(audit_logs).values({column.name: bindparam(column.name) for column in audit_logs.columns}))
_SET_HEADS = Query(
    update(audit_heads)
    .where(audit_heads.c.organization_id == bindparam("of_organization"))
    .values(sequence=bindparam("to_sequence"), hash=bindparam("to_hash"))
)
# One statement, so that the head and the last row are from the same snapshot.
_HEAD = Query(
    select(
        audit_heads.c.sequence,
        audit_heads.c.hash,
        select(func.max(audit_logs.c.sequence)).where(_its_own).scalar_subquery().label("last"),
    )
    .select_from(select(bindparam("organization_id", type_=Uuid).label("id")).subquery().outerjoin(
        audit_heads, audit_heads.c.organization_id == bindparam("organization_id")
    ))
)  # fmt: skip
_BETWEEN = Query(
    select(audit_logs)
    .where(_its_own, audit_logs.c.sequence.between(bindparam("first"), bindparam("last")))
    .order_by(audit_logs.c.sequence)
)

_FILTERS = {
    "user_id": audit_logs.c.user_id == bindparam("user_id"),
    "action": audit_logs.c.action == bindparam("action"),
    "start": audit_logs.c.time >= bindparam("start"),
    "end": audit_logs.c.time < bindparam("end"),
}
_PAGE = (
    select(audit_logs)
    .where(_its_own, audit_logs.c.sequence < bindparam("before"))
    .order_by(audit_logs.c.sequence.desc())
    .limit(bindparam("rows"))
)
# A statement for each set of filters, so that each is planned for the index that fits it.
_PAGES = {
    names: Query(_PAGE.where(*(_FILTERS[name] for name in names)))
    for chosen in product((False, True), repeat=len(_FILTERS))
    for names in [tuple(name for name, is_chosen in zip(_FILTERS, chosen, strict=True) if is_chosen)]
}


def existing_organizations(tx: Transaction, organization_ids: Iterable[UUID]) -> set[UUID]:
    """The organizations among these that exist."""
    return {row.id for row in tx.all(_EXISTING_ORGANIZATIONS, ids=list(organization_ids))}


def platform(tx: Transaction) -> UUID | None:
    """The platform's own organization."""
    row = tx.one(_PLATFORM)
    return row.id if row else None


def lock_heads(tx: Transaction, organization_ids: Iterable[UUID]) -> dict[UUID, ChainPosition]:
    """The last rows of these chains, locked until the transaction ends."""
    ids = sorted(organization_ids)
    rows = tx.all(_LOCK, ids=ids)
    if len(rows) < len(ids):
        tx.execute_many(_ADD_HEADS, [{"organization_id": id} for id in ids])
        rows = tx.all(_LOCK, ids=ids)
    return {row.organization_id: ChainPosition(row.sequence, row.hash) for row in rows}


def existing_entries_any_tenant(tx: Transaction, ids: Iterable[UUID]) -> set[UUID]:
    """The events among these that are already in a log."""
    return {row.id for row in tx.all(_EXISTING_ENTRIES, ids=list(ids))}


def append(tx: Transaction, rows: Sequence[LogRow], heads: dict[UUID, ChainPosition]) -> None:
    """Appends rows and updates the heads of their chains."""
    if not rows:
        return
    tx.execute_many(
        _ADD,
        [
            {"organization_id": row.organization_id, "sequence": row.sequence, "hash": row.hash} | asdict(row.entry)
            for row in rows
        ],
    )
    changed = {row.organization_id for row in rows}
    tx.execute_many(
        _SET_HEADS,
        [
            {"of_organization": id, "to_sequence": heads[id].sequence, "to_hash": heads[id].hash}
            for id in sorted(changed)
        ],
    )


def head(db: Session, organization_id: UUID) -> tuple[ChainPosition, int]:
    """The chain's recorded head, and the sequence of the last row that exists."""
    row = db.one(_HEAD, organization_id=organization_id)
    if row is None or row.sequence is None:
        return CHAIN_START, int(row.last or 0) if row else 0
    return ChainPosition(row.sequence, row.hash), int(row.last or 0)


def between(db: Session, organization_id: UUID, first: int, last: int) -> Sequence[LogRow]:
    """Rows with these sequences, in order."""
    return [_log_row(row) for row in db.all(_BETWEEN, organization_id=organization_id, first=first, last=last)]


def list_page(db: Session, organization_id: UUID, before: int, limit: int, filter: Filter) -> Sequence[LogRow]:
    """The newest rows below a sequence."""
    chosen = {name: value for name, value in asdict(filter).items() if value is not None}
    query = _PAGES[tuple(name for name in _FILTERS if name in chosen)]
    return [
        _log_row(row) for row in db.all(query, organization_id=organization_id, before=before, rows=limit, **chosen)
    ]


_NAMES = [field.name for field in fields(Entry)]


def _log_row(row: Any) -> LogRow:
    entry = Entry(**{name: getattr(row, name) for name in _NAMES})
    return LogRow(row.organization_id, row.sequence, entry, row.hash)
