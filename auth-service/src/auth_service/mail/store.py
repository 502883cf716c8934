"""Mail that is to be sent, in the database."""

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
class Due:
    """A mail that is to be sent now; `moot` where its link was used or replaced meanwhile. `tries` counts this one."""

    id: UUID
    kind: MailKind
    recipient: str
    parameters: Mapping[str, str]
    link: Link | None
    moot: bool
    created_at: datetime
    tries: int


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
    .values(next_try_at=bindparam("again_at"), tries=outgoing_mails.c.tries + 1)
    .returning(*outgoing_mails.c)
)
_LINK = Query(select(*links.c).where(links.c.id == bindparam("id")))
_DONE = Query(delete(outgoing_mails).where(outgoing_mails.c.id == bindparam("mail_id")))
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
    """Stores a mail that is to be sent."""
    tx.execute(
        _ADD, id=mail_id, kind=kind.value, recipient=recipient, parameters=json.dumps(parameters), link_id=link_id,
        at=at,
    )  # fmt: skip


def claim(db: Database, now: datetime, again_at: datetime) -> Due | None:
    """The mail that is sent next, bulk after all others and else the one that has waited longest; nobody else gets it
    before `again_at`.
    """
    with db.transaction() as tx:
        row = tx.one(_CLAIM, now=now, again_at=again_at)
        if row is None:
            return None
        found = tx.one(_LINK, id=row.link_id) if row.link_id else None
    link = Link(found.id, Purpose(found.purpose), found.subject_id, found.email, found.expires_at) if found else None
    moot = found is not None and (found.used_at is not None or found.expires_at <= now)
    return Due(row.id, MailKind(row.kind), row.recipient, row.parameters, link, moot, row.created_at, row.tries)


def done(db: Database, mail_id: UUID) -> None:
    """Forgets a mail that was sent, or never will be."""
    with db.transaction() as tx:
        tx.execute(_DONE, mail_id=mail_id)


def defer(db: Database, mail_id: UUID, at: datetime) -> None:
    """Has the mail tried again then."""
    with db.transaction() as tx:
        tx.execute(_DEFER, mail_id=mail_id, at=at)
