"""Tells every process's cache what changed, so that it asks again.

What Redis is to be told is written with the change, and told right after it. Where Redis does not answer then, it is
told as soon as it is back; until it has been told of everything, nobody trusts it.
"""

import threading
from uuid import UUID

import redis

from adlib import access
from adlib.access import CacheInvalidation
from adlib.db import Database, Transaction
from adlib.errors import AppError
from adlib.ids import NewId
from adlib.telemetry import logger
from auth_service.access import store

# Often enough that it is said again, before it expires, that Redis has been told of everything.
_EVERY_S = 0.1
_BATCH = 500

_log = logger(__name__)


class CacheInvalidations:
    """What use cases call in the transaction of their change."""

    def __init__(self, ids: NewId) -> None:
        self._ids = ids
        self.added = threading.Event()

    def organization_changed(self, tx: Transaction, organization_id: UUID) -> None:
        """Memberships, roles or grants there changed."""
        self._add(tx, access.organization_changed(organization_id))

    def everything_changed(self, tx: Transaction) -> None:
        """What roles grant changed in every organization."""
        self._add(tx, access.EVERYTHING_CHANGED)

    def session_ended(self, tx: Transaction, session_id: UUID) -> None:
        """The session is over."""
        self._add(tx, access.session_ended(session_id))

    def api_key_revoked(self, tx: Transaction, hash: bytes) -> None:
        """The API key, by the SHA-256 of its text, is revoked."""
        self._add(tx, access.api_key_revoked(hash))

    def _add(self, tx: Transaction, invalidation: CacheInvalidation) -> None:
        store.add_invalidation(tx, self._ids(), invalidation)
        tx.after_commit.append(self.added.set)


class InvalidationRelay:
    """Tells Redis of changes, and when that was all of them. Every process of auth-service does; twice does no harm."""

    def __init__(self, db: Database, shared: redis.Redis, added: threading.Event) -> None:
        """`added` is set when this process has made a change; those of others are looked for."""
        self._db = db
        self._shared = shared
        self._added = added
        self._run_id = ""
        self._has_answered = True

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set."""
        while not stop.is_set():
            self._added.wait(_EVERY_S)
            self._added.clear()
            try:
                self.push()
                self._has_answered = True
            except (redis.RedisError, AppError) as error:
                if self._has_answered:
                    _log.warning("marks_wait", error=str(error))
                self._has_answered = False

    def push(self) -> int:
        """Tells what waits; how much that was."""
        began_ms, run_id = access.redis_time_ms(self._shared), access.redis_run_id(self._shared)
        if run_id != self._run_id and (self._run_id or not self._has_answered):
            # It was started again: it may lack the last marks that it was sent, and have older answers. One that was
            # only frozen or out of reach has all of them.
            access.invalidate(self._shared, access.EVERYTHING_CHANGED)
        self._run_id = run_id
        waiting = store.invalidations(self._db, _BATCH)
        if waiting:
            access.invalidate(self._shared, *waiting.values())
            with self._db.transaction() as tx:
                store.remove_invalidations(tx, list(waiting))
        if len(waiting) < _BATCH:
            access.mark_cache_current(self._shared, began_ms)
        return len(waiting)
