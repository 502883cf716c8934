"""Mail is written with the change it tells of, and sent afterwards."""

import threading
import time
from datetime import datetime, timedelta

from prometheus_client import Counter

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import AppError
from adlib.ids import NewId
from adlib.telemetry import logger
from auth_service.links.model import Link
from auth_service.links.service import Links
from auth_service.mail import store
from auth_service.mail.mailer import Mailer, MailFailed, MailRefused
from auth_service.mail.model import MailKind, written

# Longer than the mail server can keep us: nobody else sends the same mail meanwhile.
_CLAIMED = timedelta(minutes=2)
_FIRST_RETRY = timedelta(seconds=5)
_LONGEST_RETRY = timedelta(hours=1)
_GIVEN_UP_AFTER = timedelta(days=2)
_IDLE_S = 1.0

_mails = Counter("mails_total", "Mails by what became of a try to send them", ["outcome"])
_log = logger(__name__)


class Outgoing:
    """Where use cases leave their mail."""

    def __init__(self, clock: Clock, ids: NewId) -> None:
        self._clock = clock
        self._ids = ids
        self.added = threading.Event()

    def add(self, tx: Transaction, kind: MailKind, recipient: str, link: Link | None = None, **parameters: str) -> None:
        """Stores the mail; it is sent once the transaction has taken effect."""
        store.add(tx, self._ids(), kind, recipient, parameters, link.id if link else None, self._clock.now())
        tx.after_commit.append(self.added.set)


class MailSender:
    """Sends what is due, one mail after the other; any number of senders share the work."""

    def __init__(
        self, db: Database, outgoing: Outgoing, mailer: Mailer, links: Links, clock: Clock, *, app_url: str
    ) -> None:
        self._db = db
        self._added = outgoing.added
        self._mailer = mailer
        self._links = links
        self._clock = clock
        self._app_url = app_url

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set."""
        while not stop.is_set():
            self._added.clear()
            try:
                while not stop.is_set() and self.send_one():
                    pass
            except AppError as error:
                _log.warning("mail_waits", error=error.message)
            end = time.monotonic() + _IDLE_S
            while time.monotonic() < end and not stop.is_set() and not self._added.wait(0.05):
                pass

    def send_one(self) -> bool:
        """Tries to send the next mail; whether there was one."""
        now = self._clock.now()
        due = store.claim(self._db, now, now + _CLAIMED)
        if due is None:
            return False
        if due.moot:
            self._end(due, "moot")
            return True
        try:
            # Signed only now: who reads the database finds no link that works.
            token = self._links.token(due.link) if due.link else ""
            mail = written(due.id, due.kind, due.recipient, due.parameters, app_url=self._app_url, token=token)
            self._mailer.send(mail)
        except MailRefused as error:
            _log.error("mail_refused", id=str(due.id), kind=due.kind.value, error=str(error))
            self._end(due, "refused")
        except MailFailed as error:
            self._try_again(due, now, error)
        else:
            self._end(due, "sent")
        return True

    def _try_again(self, due: store.Due, now: datetime, error: MailFailed) -> None:
        if now - due.created_at >= _GIVEN_UP_AFTER:
            _log.error("mail_given_up", id=str(due.id), kind=due.kind.value, tries=due.tries, error=str(error))
            self._end(due, "given_up")
            return
        # The exponent is limited too: two to the power of a week's tries is no timedelta any more.
        wait = min(_LONGEST_RETRY, _FIRST_RETRY * 2 ** min(due.tries - 1, 20))
        _log.warning("mail_failed", id=str(due.id), kind=due.kind.value, tries=due.tries, error=str(error))
        _mails.labels("failed").inc()
        store.defer(self._db, due.id, now + wait)

    def _end(self, due: store.Due, outcome: str) -> None:
        _mails.labels(outcome).inc()
        store.done(self._db, due.id)
