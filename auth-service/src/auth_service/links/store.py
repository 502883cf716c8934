"""One-time links in the database."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, func, insert, select, update

from adlib.db import Query, Session, Transaction
from auth_service.links.model import Link, Purpose
from auth_service.tables import links

_ADD = Query(
    insert(links).values(
        id=bindparam("id"), purpose=bindparam("purpose"), subject_id=bindparam("subject_id"), email=bindparam("email"),
        created_at=bindparam("at"), expires_at=bindparam("expires_at"),
    )
)  # fmt: skip
_VOID = Query(
    update(links)
    .where(
        links.c.subject_id == bindparam("of_subject"),
        links.c.purpose == func.any(bindparam("purposes")),
        links.c.used_at.is_(None),
    )
    .values(used_at=bindparam("at"))
)
_columns = (links.c.id, links.c.purpose, links.c.subject_id, links.c.email, links.c.expires_at)
_UNUSED = Query(select(*_columns).where(links.c.id == bindparam("id"), links.c.used_at.is_(None)))
_USE = Query(
    update(links)
    .where(links.c.id == bindparam("link_id"), links.c.used_at.is_(None))
    .values(used_at=bindparam("at"))
    .returning(*_columns)
)
_open = (links.c.id == bindparam("link_id")) & links.c.used_at.is_(None)
_COUNT_TRY = Query(update(links).where(_open, links.c.tries < bindparam("most")).values(tries=links.c.tries + 1))
_GIVE_TRY_BACK = Query(update(links).where(_open, links.c.tries > 0).values(tries=links.c.tries - 1))
_END_SPENT = Query(update(links).where(_open, links.c.tries >= bindparam("most")).values(used_at=bindparam("at")))


def add(tx: Transaction, link: Link, at: datetime) -> None:
    """Stores a new link."""
    tx.execute(
        _ADD, id=link.id, purpose=link.purpose.value, subject_id=link.subject_id, email=link.email,
        at=at, expires_at=link.expires_at,
    )  # fmt: skip


def void(tx: Transaction, subject_id: UUID, purposes: Iterable[Purpose], at: datetime) -> None:
    """Makes the subject's links for these purposes unusable."""
    tx.execute(_VOID, of_subject=subject_id, purposes=[purpose.value for purpose in purposes], at=at)


def unused(db: Session, link_id: UUID) -> Link | None:
    """The link, unless it was used."""
    row = db.one(_UNUSED, id=link_id)
    return Link(row.id, Purpose(row.purpose), row.subject_id, row.email, row.expires_at) if row else None


def use(tx: Transaction, link_id: UUID, at: datetime) -> Link | None:
    """Uses the link up; None where it was used before, whoever does it at the same time."""
    row = tx.one(_USE, link_id=link_id, at=at)
    return Link(row.id, Purpose(row.purpose), row.subject_id, row.email, row.expires_at) if row else None


def count_try(tx: Transaction, link_id: UUID, most: int) -> bool:
    """Counts a try of the link; False where it was used, or tried as often as it may be."""
    return tx.execute(_COUNT_TRY, link_id=link_id, most=most) == 1


def give_try_back(tx: Transaction, link_id: UUID) -> None:
    """Counts one try less; nothing where the link was used."""
    tx.execute(_GIVE_TRY_BACK, link_id=link_id)


def end_spent(tx: Transaction, link_id: UUID, most: int, at: datetime) -> None:
    """Uses the link up where it was tried as often as it may be."""
    tx.execute(_END_SPENT, link_id=link_id, most=most, at=at)
