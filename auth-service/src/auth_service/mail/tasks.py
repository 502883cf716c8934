"""Sends queued mail."""

import threading
import time
from datetime import datetime, timedelta

from prometheus_client import Counter

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import AppError
from adlib.telemetry import logger
from auth_service.links.service import Links
from auth_service.mail import store
from auth_service.mail.model import Mailer, MailFailed, MailRefused, rendered
from auth_service.mail.store import QueuedMail

# Longer than an attempt can take, so that no other sender sends the same mail meanwhile.
_CLAIM_LEASE = timedelta(minutes=2)
_FIRST_RETRY_INTERVAL = timedelta(seconds=5)
_MAX_RETRY_INTERVAL = timedelta(hours=1)
_GIVE_UP_AFTER = timedelta(days=2)
_POLL_INTERVAL_S = 1.0

_mails = Counter("mails_total", "Mails by the outcome of an attempt to send them", ["outcome"])
_log = logger(__name__)


class MailSender:
    """Sends due mail, one at a time; any number of senders share the queue."""

    def __init__(
        self, db: Database, added: threading.Event, mailer: Mailer, links: Links, clock: Clock, *, app_url: str
    ) -> None:
        """`added` is set after this process has queued a mail; other processes' mail is found by polling."""
        self._db = db
        self._added = added
        self._mailer = mailer
        self._links = links
        self._clock = clock
        self._app_url = app_url

    def run(self, stop: threading.Event) -> None:
        """Runs until `stop` is set."""
        while not stop.is_set():
            self._added.clear()
            try:
                while not stop.is_set() and self.send_next():
                    pass
            except AppError as error:
                _log.warning("mail_delayed", error=error.message)
            end = time.monotonic() + _POLL_INTERVAL_S
            while time.monotonic() < end and not stop.is_set() and not self._added.wait(0.05):
                pass

    def send_next(self) -> bool:
        """Attempts to send the next mail; returns whether there was one."""
        now = self._clock.now()
        queued = store.claim(self._db, now, now + _CLAIM_LEASE)
        if queued is None:
            return False
        if queued.is_obsolete:
            self._finish(queued, "obsolete")
            return True
        try:
            # Signed only here, so that the database contains only links that cannot be used.
            token = self._links.token(queued.link) if queued.link else ""
            mail = rendered(
                queued.id, queued.kind, queued.recipient, queued.parameters, app_url=self._app_url, token=token
            )
            self._mailer.send(mail)
        except MailRefused as error:
            _log.error("mail_refused", id=str(queued.id), kind=queued.kind.value, error=str(error))
            self._finish(queued, "refused")
        except MailFailed as error:
            self._retry_later(queued, now, error)
        else:
            self._finish(queued, "sent")
        return True

    def _retry_later(self, queued: QueuedMail, now: datetime, error: MailFailed) -> None:
        details = {"id": str(queued.id), "kind": queued.kind.value, "attempts": queued.attempts, "error": str(error)}
        if now - queued.created_at >= _GIVE_UP_AFTER:
            _log.error("mail_given_up", **details)
            self._finish(queued, "given_up")
            return
        # The exponent is capped because a timedelta overflows.
        wait = min(_MAX_RETRY_INTERVAL, _FIRST_RETRY_INTERVAL * 2 ** min(queued.attempts - 1, 20))
        _log.warning("mail_failed", **details)
        _mails.labels("failed").inc()
        store.defer(self._db, queued.id, now + wait)

    def _finish(self, queued: QueuedMail, outcome: str) -> None:
        _mails.labels(outcome).inc()
        store.remove(self._db, queued.id)
