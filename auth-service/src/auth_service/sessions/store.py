"""Sessions and their refresh tokens in the database."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, case, delete, func, insert, select, update

from adlib.db import Query, Transaction
from adlib.db import Session as Reader
from auth_service.sessions.model import Client, LiveSession, Session, StoredRefreshToken
from auth_service.tables import refresh_tokens, sessions

# The oldest sessions beyond it are not listed.
_MAX_LISTED = 200

_ADD = Query(
    insert(sessions).values(
        id=bindparam("id"), user_id=bindparam("user_id"), created_at=bindparam("created_at"),
        address=bindparam("address"), user_agent=bindparam("user_agent"),
    )
)  # fmt: skip
_live = sessions.c.ended_at.is_(None)
_active_at = func.coalesce(sessions.c.refreshed_at, sessions.c.created_at)
_LIVE = Query(
    select(
        sessions.c.id, sessions.c.address, sessions.c.user_agent, sessions.c.created_at, _active_at.label("active_at")
    )
    .where(sessions.c.user_id == bindparam("user_id"), _live, _active_at > bindparam("active_after"))
    .order_by(sessions.c.id.desc())
    .limit(_MAX_LISTED)
)  # fmt: skip
_END = Query(update(sessions).where(sessions.c.id == bindparam("session_id"), _live).values(ended_at=bindparam("at")))
_END_OWN = Query(
    update(sessions)
    .where(sessions.c.id == bindparam("session_id"), sessions.c.user_id == bindparam("of_user"), _live)
    .values(ended_at=bindparam("at"))
)
_LOCK_LIVE = Query(
    select(sessions.c.id)
    .where(sessions.c.id == bindparam("session_id"), sessions.c.user_id == bindparam("of_user"), _live)
    .with_for_update()
)
_ENDED = Query(select(sessions.c.id).where(sessions.c.id == bindparam("session_id"), sessions.c.ended_at.is_not(None)))
_END_ALL = Query(
    update(sessions)
    .where(sessions.c.user_id == bindparam("of_user"), sessions.c.id != bindparam("except_id"), _live)
    .values(ended_at=bindparam("at"))
    .returning(sessions.c.id)
)
_SET_ROTATION = Query(
    update(sessions)
    .where(sessions.c.id == bindparam("session_id"))
    .values(refreshed_at=bindparam("at"), rotated_hash=bindparam("rotated"), successor_salt=bindparam("salt"))
)
_ADD_TOKEN = Query(
    insert(refresh_tokens).values(
        hash=bindparam("hash"), session_id=bindparam("session_id"), created_at=bindparam("at")
    )
)
# Locks the session too, which serializes concurrent refreshes and ends of it.
_LOCK_TOKEN = Query(
    select(
        refresh_tokens.c.used_at, refresh_tokens.c.created_at,
        case((sessions.c.rotated_hash == refresh_tokens.c.hash, sessions.c.successor_salt)).label("successor_salt"),
        sessions.c.id, sessions.c.user_id, sessions.c.ended_at, sessions.c.address, sessions.c.user_agent,
    )
    .select_from(refresh_tokens.join(sessions, sessions.c.id == refresh_tokens.c.session_id))
    .where(refresh_tokens.c.hash == bindparam("hash"))
    .with_for_update()
)  # fmt: skip
_MARK_TOKEN_USED = Query(
    update(refresh_tokens).where(refresh_tokens.c.hash == bindparam("used")).values(used_at=bindparam("at"))
)
_DELETE_TOKENS = Query(
    delete(refresh_tokens).where(
        refresh_tokens.c.session_id == bindparam("of_session"), refresh_tokens.c.created_at < bindparam("before")
    )
)


def add(tx: Transaction, session: Session, at: datetime) -> None:
    """Stores a new session."""
    tx.execute(
        _ADD, id=session.id, user_id=session.user_id, created_at=at,
        address=session.client.address, user_agent=session.client.user_agent,
    )  # fmt: skip


def list_live(db: Reader, user_id: UUID, active_after: datetime) -> Sequence[LiveSession]:
    """The user's live sessions for which tokens were issued after that time, newest first."""
    rows = db.all(_LIVE, user_id=user_id, active_after=active_after)
    return [LiveSession(row.id, Client(row.address, row.user_agent), row.created_at, row.active_at) for row in rows]


def end(tx: Transaction, session_id: UUID, at: datetime) -> bool:
    """Ends the session; returns whether it was live."""
    return tx.execute(_END, session_id=session_id, at=at) == 1


def end_own(tx: Transaction, user_id: UUID, session_id: UUID, at: datetime) -> bool:
    """Ends the user's session; False if they have no such live session."""
    return tx.execute(_END_OWN, of_user=user_id, session_id=session_id, at=at) == 1


def end_all(tx: Transaction, user_id: UUID, except_id: UUID, at: datetime) -> Sequence[UUID]:
    """Ends every session of the user except this one; returns the ids of those that ended."""
    return [row.id for row in tx.all(_END_ALL, of_user=user_id, except_id=except_id, at=at)]


def set_rotation(tx: Transaction, session_id: UUID, hash: bytes, salt: bytes, at: datetime) -> None:
    """Stores the hash of the token that was replaced last and its successor's salt, in place of the previous ones."""
    tx.execute(_SET_ROTATION, session_id=session_id, rotated=hash, salt=salt, at=at)


def lock_live(tx: Transaction, user_id: UUID, session_id: UUID) -> bool:
    """Whether the user's session is live; if so, it cannot end before the transaction does."""
    return tx.one(_LOCK_LIVE, of_user=user_id, session_id=session_id) is not None


def has_ended(db: Reader, session_id: UUID) -> bool:
    """Whether the session has ended."""
    return db.one(_ENDED, session_id=session_id) is not None


def add_token(tx: Transaction, hash: bytes, session_id: UUID, at: datetime) -> None:
    """Stores a refresh token's hash."""
    tx.execute(_ADD_TOKEN, hash=hash, session_id=session_id, at=at)


def lock_token(tx: Transaction, hash: bytes) -> StoredRefreshToken | None:
    """The refresh token with this hash, locked with its session until the transaction ends."""
    row = tx.one(_LOCK_TOKEN, hash=hash)
    if row is None:
        return None
    session = Session(row.id, row.user_id, Client(row.address, row.user_agent))
    return StoredRefreshToken(session, row.ended_at is not None, row.created_at, row.used_at, row.successor_salt)


def mark_token_used(tx: Transaction, hash: bytes, at: datetime) -> None:
    """Marks the refresh token as used."""
    tx.execute(_MARK_TOKEN_USED, used=hash, at=at)


def delete_tokens(tx: Transaction, session_id: UUID, before: datetime) -> None:
    """Deletes the session's refresh tokens that were issued before that time."""
    tx.execute(_DELETE_TOKENS, of_session=session_id, before=before)
