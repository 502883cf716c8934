"""Tells every process's cache what changed, so that it asks again.

What Redis is to be told is written with the change and told right after it. Where Redis does not answer then, every
process asks auth-service anyway; Redis is told as soon as it is back.
"""

import threading
from uuid import UUID

import redis

from adlib import access
from adlib.access import Mark
from adlib.db import Database, Transaction
from adlib.errors import AppError
from adlib.ids import NewId
from adlib.telemetry import logger
from auth_service.access import store

# Within the second that a change may take to be seen, beside the half second that processes remember.
_RETRY_S = 0.2
_BATCH = 500

_log = logger(__name__)


class Marks:
    """What use cases call in the transaction of their change."""

    def __init__(self, db: Database, shared: redis.Redis, ids: NewId) -> None:
        self._db = db
        self._shared = shared
        self._ids = ids

    def organization_changed(self, tx: Transaction, organization_id: UUID) -> None:
        """Memberships, roles or grants there changed."""
        self._add(tx, access.organization_changed(organization_id))

    def session_ended(self, tx: Transaction, session_id: UUID) -> None:
        """The session is over."""
        self._add(tx, access.session_ended(session_id))

    def api_key_revoked(self, tx: Transaction, hash: bytes) -> None:
        """The API key, by the SHA-256 of its text, is revoked."""
        self._add(tx, access.api_key_revoked(hash))

    def _add(self, tx: Transaction, mark: Mark) -> None:
        mark_id = self._ids()
        store.add_mark(tx, mark_id, mark)
        tx.after_commit.append(lambda: self._tell(mark_id, mark))

    def _tell(self, mark_id: UUID, mark: Mark) -> None:
        try:
            access.set_marks(self._shared, mark)
            with self._db.transaction() as tx:
                store.remove_marks(tx, [mark_id])
        except (redis.RedisError, AppError) as error:
            # The change has been made: what is left of telling it is MarkPusher's.
            _log.warning("mark_waits", key=mark.key, error=str(error))


class MarkPusher:
    """Tells Redis what could not be told at once."""

    def __init__(self, db: Database, shared: redis.Redis) -> None:
        self._db = db
        self._shared = shared

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set."""
        while not stop.wait(_RETRY_S):
            try:
                self.push()
            except (redis.RedisError, AppError) as error:
                _log.warning("marks_wait", error=str(error))

    def push(self) -> int:
        """Tells what waits; how much that was."""
        waiting = store.marks(self._db, _BATCH)
        if waiting:
            access.set_marks(self._shared, *waiting.values())
            with self._db.transaction() as tx:
                store.remove_marks(tx, list(waiting))
        return len(waiting)
