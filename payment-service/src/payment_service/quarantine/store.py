"""Failing items of all organizations in the database, for the job and operators."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    Text,
    Uuid,
    any_,
    bindparam,
    case,
    cast,
    func,
    literal,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy import delete as delete_from
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Session, Transaction
from adlib.db.database import Row
from adlib.paging import Page
from payment_service.quarantine.model import FailingItem, ItemKey, Kind
from payment_service.tables import failing_items, payments, payouts, refunds


def _is_one_of(column: ColumnElement[str], *values: str) -> ColumnElement[bool]:
    return or_(*(column == value for value in values))


_FIELDS = [
    failing_items.c[name]
    for name in (
        "id", "kind", "provider", "subject", "failure_count", "last_error", "error_reason", "first_failed_at",
        "last_failed_at", "quarantined_at", "discarded_at", "discard_reason",
    )
]  # fmt: skip
_IS_QUARANTINED = failing_items.c.quarantined_at.is_not(None)
_IS_WAITING = _IS_QUARANTINED & failing_items.c.discarded_at.is_(None)
_new = insert(failing_items).values(
    id=bindparam("id"), kind=bindparam("kind"), provider=bindparam("provider"), subject=bindparam("subject"),
    failure_count=1, last_error=bindparam("error"), error_reason=bindparam("reason"),
    first_failed_at=bindparam("at"), last_failed_at=bindparam("at"),
)  # fmt: skip
_RECORD_FAILURE = Query(
    _new.on_conflict_do_update(
        index_elements=["kind", "provider", "subject"],
        set_={
            "failure_count": failing_items.c.failure_count + 1,
            "last_error": _new.excluded.last_error,
            "error_reason": _new.excluded.error_reason,
            "last_failed_at": _new.excluded.last_failed_at,
        },
    ).returning(*_FIELDS)
)
_THIS = failing_items.c.id == bindparam("item")
_SAVE = Query(
    update(failing_items)
    .where(_THIS)
    .values(
        quarantined_at=bindparam("quarantined"), discarded_at=bindparam("discarded"), discard_reason=bindparam("why")
    )
)
_DELETE = Query(
    delete_from(failing_items).where(
        failing_items.c.kind == bindparam("of_kind"),
        failing_items.c.provider == bindparam("of_provider"),
        failing_items.c.subject == bindparam("of_subject"),
    )
)
_FAILING = Query(
    select(failing_items.c.kind, failing_items.c.provider, failing_items.c.subject)
    .where(not_(_IS_QUARANTINED))
    .limit(bindparam("most", type_=Integer))
)
_COUNT = Query(select(func.count().label("number")).where(_IS_WAITING))
_PAGE = Query(
    select(*_FIELDS)
    .where(_IS_WAITING, failing_items.c.id < bindparam("before"))
    .order_by(failing_items.c.id.desc())
    .limit(bindparam("most"))
)
_GET = Query(select(*_FIELDS).where(_THIS, _IS_QUARANTINED))
_LOCK = Query(select(*_FIELDS).where(_THIS, _IS_QUARANTINED).with_for_update())
_RELEASE = Query(delete_from(failing_items).where(_THIS, _IS_QUARANTINED))
_HAS_ID = or_(*(failing_items.c.kind == kind for kind in ("PAYMENT", "REFUND", "PAYOUT")))
_SUBJECT_ID = cast(case((_HAS_ID, failing_items.c.subject)), Uuid)
# Items that the job would skip.
_HAS_ENDED = {
    "PAYMENT": (
        payments,
        or_(payments.c.is_closed, not_(_is_one_of(payments.c.state, "PENDING", "PROCESSING", "FAILED"))),
    ),
    "REFUND": (refunds, or_(refunds.c.state != "PENDING", refunds.c.external_id.is_not(None))),
    "PAYOUT": (payouts, not_(_is_one_of(payouts.c.state, "SENDING", "PROCESSING"))),
}
_DELETE_ENDED = Query(
    delete_from(failing_items).where(
        failing_items.c.discarded_at.is_(None),
        case(
            *(
                (
                    failing_items.c.kind == kind,
                    select(literal(1)).where(table.c.id == _SUBJECT_ID, has_ended).exists(),
                )
                for kind, (table, has_ended) in _HAS_ENDED.items()
            ),
            else_=False,
        ),
    )
)
_CONFIGURED = any_(bindparam("providers", type_=ARRAY(Text)))
_RELEASE_OF_PROVIDERS = Query(
    delete_from(failing_items).where(
        _IS_WAITING,
        failing_items.c.error_reason == "PROVIDER_NOT_AVAILABLE",
        case(
            (
                failing_items.c.kind == "PAYMENT",
                select(literal(1)).where(payments.c.id == _SUBJECT_ID, payments.c.provider == _CONFIGURED).exists(),
            ),
            (
                failing_items.c.kind == "REFUND",
                select(literal(1)).where(refunds.c.id == _SUBJECT_ID, refunds.c.provider == _CONFIGURED).exists(),
            ),
            else_=False,
        ),
    )
)


def is_free(
    kind: Kind, subject: ColumnElement[UUID] | ColumnElement[str], provider: ColumnElement[str] | None = None
) -> ColumnElement[bool]:
    """The SQL condition that an item is not in quarantine."""
    return not_(
        select(literal(1))
        .where(
            failing_items.c.kind == kind.value,
            failing_items.c.provider == (literal("") if provider is None else provider),
            failing_items.c.subject == cast(subject, Text),
            _IS_QUARANTINED,
        )
        .exists()
    )


def record_failure(tx: Transaction, id: UUID, key: ItemKey, error: str, reason: str, at: datetime) -> FailingItem:
    """Counts a failure and returns the item; `id` is used if the item is new."""
    row = tx.one(
        _RECORD_FAILURE, id=id, kind=key.kind.value, provider=key.provider, subject=key.subject, error=error,
        reason=reason, at=at,
    )  # fmt: skip
    if row is None:
        raise LookupError("an upsert returns its row")
    return _item(row)


def save(tx: Transaction, item: FailingItem) -> None:
    """Stores whether the item is in quarantine, and whether it is discarded."""
    tx.execute(
        _SAVE, item=item.id, quarantined=item.quarantined_at, discarded=item.discarded_at, why=item.discard_reason
    )


def delete(tx: Transaction, key: ItemKey) -> None:
    """Deletes the item."""
    tx.execute(_DELETE, of_kind=key.kind.value, of_provider=key.provider, of_subject=key.subject)


def failing(db: Session, limit: int) -> Collection[ItemKey]:
    """Items that have failed and are not in quarantine."""
    return {ItemKey(Kind(row.kind), row.subject, row.provider) for row in db.all(_FAILING, most=limit)}


def count(db: Session) -> int:
    """The number of quarantined items that are not discarded."""
    row = db.one(_COUNT)
    return int(row.number) if row else 0


def page(db: Session, part: Page) -> Sequence[FailingItem]:
    """The quarantined items that are not discarded, newest first."""
    return [_item(row) for row in db.all(_PAGE, before=part.before, most=part.limit)]


def get(db: Session, id: UUID) -> FailingItem | None:
    """The quarantined item, even if discarded."""
    row = db.one(_GET, item=id)
    return _item(row) if row else None


def lock(tx: Transaction, id: UUID) -> FailingItem | None:
    """The quarantined item, even if discarded, locked."""
    row = tx.one(_LOCK, item=id)
    return _item(row) if row else None


def release(tx: Transaction, id: UUID) -> bool:
    """Releases the item to the job; False if it was not in quarantine."""
    return tx.execute(_RELEASE, item=id) == 1


def release_of_providers_any_tenant(tx: Transaction, providers: Collection[str]) -> int:
    """Releases items that failed because one of these providers was not configured; returns their number."""
    return tx.execute(_RELEASE_OF_PROVIDERS, providers=list(providers))


def delete_ended_any_tenant(tx: Transaction) -> int:
    """Deletes payments, refunds and payouts that ended in another way, such as a webhook; returns their number."""
    return tx.execute(_DELETE_ENDED)


def _item(row: Row) -> FailingItem:
    fields = row._asdict()
    key = ItemKey(Kind(fields.pop("kind")), fields.pop("subject"), fields.pop("provider"))
    return FailingItem(key=key, **fields)
