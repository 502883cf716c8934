"""The job that deletes what nobody needs any more."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib import idempotency, inbox, jobs
from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.documents import Documents
from adlib.rpc.stages import deadline
from auth_service.jobs import store

# Deleting a session deletes its refresh tokens, thousands for one that was refreshed for a month.
_BATCH = 100
# What is left over waits for the next run.
_MOST_BATCHES = 1_000
# Kept back from the caller's deadline for the kinds of rubbish that come after, and for the answer.
_MARGIN_S = 2.0
_KEPT = timedelta(days=30)
# A refresh token works for thirty days: what was not refreshed for longer never will be.
_IDLE = timedelta(days=31)
_UNDELIVERABLE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Rubbish:
    """A kind of what is deleted; `purge` takes up to a limit and says how many it took."""

    name: str
    purge: Callable[[int], int]


class Purge:
    """PurgeExpired. Small transactions, so that nobody waits for it."""

    def __init__(self, db: Database, documents: Documents, clock: Clock) -> None:
        self._db = db
        self._documents = documents
        self._clock = clock

    def run(self) -> JobResult:
        """Works on every kind of rubbish."""
        return jobs.run(self._db, "purge-expired", self._kinds, self._work)

    def _kinds(self) -> Sequence[Rubbish]:
        now = self._clock.now()
        old, idle, undeliverable = now - _KEPT, now - _IDLE, now - _UNDELIVERABLE
        return [
            Rubbish("documents", self._documents.purge),
            self._in_database("sessions", lambda tx, most: store.purge_sessions(tx, old, idle, most)),
            self._in_database("links", lambda tx, most: store.purge_links(tx, old, most)),
            self._in_database("invitations", lambda tx, most: store.purge_invitations(tx, old, most)),
            self._in_database("idempotency keys", lambda tx, most: idempotency.purge(tx, old, most)),
            self._in_database("inbox", lambda tx, most: inbox.purge(tx, old, most)),
            self._in_database("mails", lambda tx, most: store.purge_mails(tx, undeliverable, most)),
        ]

    def _in_database(self, name: str, purge: Callable[[Transaction, int], int]) -> Rubbish:
        def one_batch(most: int) -> int:
            with self._db.transaction() as tx:
                return purge(tx, most)

        return Rubbish(name, one_batch)

    def _work(self, rubbish: Rubbish) -> None:
        for _ in range(_MOST_BATCHES):
            if rubbish.purge(_BATCH) < _BATCH or time.monotonic() > deadline.get() - _MARGIN_S:
                return
