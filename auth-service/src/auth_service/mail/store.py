"""Queued mail in the database."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, delete, insert, or_, select, update

from adlib.db import Database, Query, Transaction
from auth_service.links.model import Link, Purpose
from auth_service.mail.model import BULK, MailKind
from auth_service.tables import links, outgoing_mails


@dataclass(frozen=True, slots=True)
class QueuedMail:
    """A mail to send now; `is_obsolete` if its link was used, replaced or has expired. `attempts` includes this one."""

    id: UUID
    kind: MailKind
    recipient: str
    parameters: Mapping[str, str]
    link: Link | None
    is_obsolete: bool
    created_at: datetime
    attempts: int


_ADD = Query(
    insert(outgoing_mails).values(
        id=bindparam("id"), kind=bindparam("kind"), recipient=bindparam("recipient"),
        parameters=bindparam("parameters"), link_id=bindparam("link_id"),
        created_at=bindparam("at"), next_try_at=bindparam("at"), tries=0,
    )
)  # fmt: skip
_next = (
    select(outgoing_mails.c.id)
    .where(outgoing_mails.c.next_try_at <= bindparam("now"))
    .order_by(or_(*(outgoing_mails.c.kind == kind.value for kind in BULK)), outgoing_mails.c.next_try_at)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_CLAIM = Query(
    update(outgoing_mails)
    .where(outgoing_mails.c.id == _next.scalar_subquery())
    .values(next_try_at=bindparam("retry_at"), tries=outgoing_mails.c.tries + 1)
    .returning(*outgoing_mails.c)
)
_LINK = Query(select(*links.c).where(links.c.id == bindparam("id")))
_REMOVE = Query(delete(outgoing_mails).where(outgoing_mails.c.id == bindparam("mail_id")))
_DEFER = Query(
    update(outgoing_mails).where(outgoing_mails.c.id == bindparam("mail_id")).values(next_try_at=bindparam("at"))
)


def add(
    tx: Transaction,
    mail_id: UUID,
    kind: MailKind,
    recipient: str,
    parameters: Mapping[str, str],
    link_id: UUID | None,
    at: datetime,
) -> None:
    """Queues a mail."""
    tx.execute(
        _ADD, id=mail_id, kind=kind.value, recipient=recipient, parameters=json.dumps(parameters), link_id=link_id,
        at=at,
    )  # fmt: skip


def claim(db: Database, now: datetime, retry_at: datetime) -> QueuedMail | None:
    """Claims the next mail until `retry_at`: the one due longest, bulk mail after all others."""
    with db.transaction() as tx:
        row = tx.one(_CLAIM, now=now, retry_at=retry_at)
        if row is None:
            return None
        found = tx.one(_LINK, id=row.link_id) if row.link_id else None
    link = Link(found.id, Purpose(found.purpose), found.subject_id, found.email, found.expires_at) if found else None
    is_obsolete = found is not None and (found.used_at is not None or found.expires_at <= now)
    kind = MailKind(row.kind)
    return QueuedMail(
        row.id, kind, row.recipient, row.parameters, link, is_obsolete, row.created_at, attempts=row.tries
    )


def remove(db: Database, mail_id: UUID) -> None:
    """Deletes a mail that was sent or will not be."""
    with db.transaction() as tx:
        tx.execute(_REMOVE, mail_id=mail_id)


def defer(db: Database, mail_id: UUID, at: datetime) -> None:
    """Schedules the next attempt."""
    with db.transaction() as tx:
        tx.execute(_DEFER, mail_id=mail_id, at=at)
