"""What nobody needs any more, across all organizations. Each function takes up to a limit and says how many it took."""

from datetime import datetime

from sqlalchemy import Column, ColumnElement, Table, bindparam, delete, func, or_, select

from adlib.db import Query, Transaction
from auth_service.tables import invitations, links, outgoing_mails, sessions


def _purge(table: Table, *is_rubbish: ColumnElement[bool]) -> Query:
    key: Column[object] = table.c.id
    some = select(key).where(*is_rubbish).limit(bindparam("most"))
    # Looked at again when the row is deleted: it may have changed since it was found.
    return Query(delete(table).where(key.in_(some), *is_rubbish))


_SESSIONS = _purge(
    sessions,
    or_(
        sessions.c.ended_at < bindparam("ended_before"),
        func.coalesce(sessions.c.refreshed_at, sessions.c.created_at) < bindparam("idle_before"),
    ),
)
_LINKS = _purge(links, links.c.expires_at < bindparam("before"))
_INVITATIONS = _purge(invitations, invitations.c.expires_at < bindparam("before"), invitations.c.accepted_at.is_(None))
_MAILS = _purge(outgoing_mails, outgoing_mails.c.created_at < bindparam("before"))


def purge_sessions(tx: Transaction, ended_before: datetime, idle_before: datetime, limit: int) -> int:
    """Sessions that ended, or were last refreshed, before then; their refresh tokens go with them."""
    return tx.execute(_SESSIONS, ended_before=ended_before, idle_before=idle_before, most=limit)


def purge_links(tx: Transaction, before: datetime, limit: int) -> int:
    """Links that expired before then, used or not."""
    return tx.execute(_LINKS, before=before, most=limit)


def purge_invitations(tx: Transaction, before: datetime, limit: int) -> int:
    """Invitations that expired before then and were never accepted."""
    return tx.execute(_INVITATIONS, before=before, most=limit)


def purge_mails(tx: Transaction, before: datetime, limit: int) -> int:
    """Mails that no mail server has taken since then."""
    return tx.execute(_MAILS, before=before, most=limit)
