"""Queues mail in the transaction of the change that it reports."""

import threading

from adlib.clock import Clock
from adlib.db import Transaction
from adlib.ids import NewId
from auth_service.links.model import Link
from auth_service.mail import store
from auth_service.mail.model import MailKind


class OutgoingMail:
    """The queue of outgoing mail; `MailSender` sends it."""

    def __init__(self, clock: Clock, ids: NewId) -> None:
        self._clock = clock
        self._ids = ids
        self.added = threading.Event()

    def add(self, tx: Transaction, kind: MailKind, recipient: str, link: Link | None = None, **parameters: str) -> None:
        """Queues a mail, which is sent after the transaction commits."""
        store.add(tx, self._ids(), kind, recipient, parameters, link.id if link else None, self._clock.now())
        tx.after_commit.append(self.added.set)
