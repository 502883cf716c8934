"""Sends cache invalidations to Redis.

An invalidation is stored in the transaction of its change and sent right after the commit. If Redis does not answer, it
is sent once Redis is back. No service trusts the cache before Redis has received every invalidation.
"""

import threading

import redis

from adlib import access
from adlib.db import Database
from adlib.errors import AppError
from adlib.telemetry import logger
from auth_service.invalidations import store

# `access.mark_cache_current` lasts 0.4 s and must be renewed before it expires.
_POLL_INTERVAL_S = 0.1
_MAX_BATCH = 500

_log = logger(__name__)


class InvalidationRelay:
    """Sends invalidations and marks the cache as current. Every process runs one; sending is idempotent."""

    def __init__(self, db: Database, shared: redis.Redis, added: threading.Event) -> None:
        """`added` is set after this process has added an invalidation; polling finds those of other processes."""
        self._db = db
        self._shared = shared
        self._added = added
        self._run_id = ""
        self._is_redis_up = True

    def run(self, stop: threading.Event) -> None:
        """Runs until `stop` is set."""
        while not stop.is_set():
            self._added.wait(_POLL_INTERVAL_S)
            self._added.clear()
            try:
                self.send_pending()
                self._is_redis_up = True
            except (redis.RedisError, AppError) as error:
                if self._is_redis_up:
                    _log.warning("cache_invalidations_delayed", error=str(error))
                self._is_redis_up = False

    def send_pending(self) -> int:
        """Sends a batch of pending invalidations; returns their number."""
        started_ms, run_id = access.redis_time_ms(self._shared), access.redis_run_id(self._shared)
        if run_id != self._run_id and (self._run_id or not self._is_redis_up):
            # Redis was restarted: it may have lost the last invalidations and may serve older answers. A Redis that was
            # only frozen or unreachable has lost none.
            access.invalidate(self._shared, access.EVERYTHING_CHANGED)
        self._run_id = run_id
        pending = store.pending(self._db, _MAX_BATCH)
        if pending:
            access.invalidate(self._shared, *pending.values())
            with self._db.transaction() as tx:
                store.remove(tx, list(pending))
        if len(pending) < _MAX_BATCH:
            access.mark_cache_current(self._shared, started_ms)
        return len(pending)
