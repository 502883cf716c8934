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
_REDEEM = Query(
    update(links)
    .where(links.c.id == bindparam("link_id"), links.c.used_at.is_(None))
    .values(used_at=bindparam("at"))
    .returning(*_columns)
)
_open = (links.c.id == bindparam("link_id")) & links.c.used_at.is_(None)
_COUNT_ATTEMPT = Query(
    update(links).where(_open, links.c.tries < bindparam("max_attempts")).values(tries=links.c.tries + 1)
)
_UNCOUNT_ATTEMPT = Query(update(links).where(_open, links.c.tries > 0).values(tries=links.c.tries - 1))
_VOID_EXHAUSTED = Query(
    update(links).where(_open, links.c.tries >= bindparam("max_attempts")).values(used_at=bindparam("at"))
)


def add(tx: Transaction, link: Link, at: datetime) -> None:
    """Stores a new link."""
    tx.execute(
        _ADD, id=link.id, purpose=link.purpose.value, subject_id=link.subject_id, email=link.email,
        at=at, expires_at=link.expires_at,
    )  # fmt: skip


def void(tx: Transaction, subject_id: UUID, purposes: Iterable[Purpose], at: datetime) -> None:
    """Voids the subject's links for these purposes."""
    tx.execute(_VOID, of_subject=subject_id, purposes=[purpose.value for purpose in purposes], at=at)


def unused(db: Session, link_id: UUID) -> Link | None:
    """The link, unless it was used."""
    row = db.one(_UNUSED, id=link_id)
    return Link(row.id, Purpose(row.purpose), row.subject_id, row.email, row.expires_at) if row else None


def redeem(tx: Transaction, link_id: UUID, at: datetime) -> Link | None:
    """Redeems the link; None if it was used before. One of several concurrent calls succeeds."""
    row = tx.one(_REDEEM, link_id=link_id, at=at)
    return Link(row.id, Purpose(row.purpose), row.subject_id, row.email, row.expires_at) if row else None


def count_attempt(tx: Transaction, link_id: UUID, max_attempts: int) -> bool:
    """Counts an attempt to use the link; False if it was used or has no attempts left."""
    return tx.execute(_COUNT_ATTEMPT, link_id=link_id, max_attempts=max_attempts) == 1


def uncount_attempt(tx: Transaction, link_id: UUID) -> None:
    """Reverts one counted attempt; does nothing if the link was used."""
    tx.execute(_UNCOUNT_ATTEMPT, link_id=link_id)


def void_exhausted(tx: Transaction, link_id: UUID, max_attempts: int, at: datetime) -> None:
    """Voids the link if it has no attempts left."""
    tx.execute(_VOID_EXHAUSTED, link_id=link_id, max_attempts=max_attempts, at=at)
