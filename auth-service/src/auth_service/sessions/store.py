"""Sessions in the database."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, insert, select, update

from adlib.db import Query, Transaction
from adlib.db import Session as Reader
from auth_service.sessions.model import Session
from auth_service.tables import sessions

_ADD = Query(
    insert(sessions).values(id=bindparam("id"), user_id=bindparam("user_id"), created_at=bindparam("created_at"))
)
_LIVE = Query(
    select(sessions.c.id, sessions.c.user_id).where(sessions.c.id == bindparam("id"), sessions.c.ended_at.is_(None))
)
_END = Query(
    update(sessions)
    .where(sessions.c.id == bindparam("session_id"), sessions.c.ended_at.is_(None))
    .values(ended_at=bindparam("at"))
)


def add(tx: Transaction, session: Session, at: datetime) -> None:
    """Stores a new session."""
    tx.execute(_ADD, id=session.id, user_id=session.user_id, created_at=at)


def live(db: Reader, session_id: UUID) -> Session | None:
    """The session, unless it has ended."""
    row = db.one(_LIVE, id=session_id)
    return Session(row.id, row.user_id) if row else None


def end(tx: Transaction, session_id: UUID, at: datetime) -> None:
    """Ends the session; one that has ended stays as it is."""
    tx.execute(_END, session_id=session_id, at=at)
