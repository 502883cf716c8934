"""Invalidates the sessions, API keys and permissions in the services' caches."""

import threading
from uuid import UUID

from adlib import access
from adlib.access import CacheInvalidation
from adlib.db import Transaction
from adlib.ids import NewId
from auth_service.invalidations import store


class CacheInvalidations:
    """Records an invalidation in the transaction of the change; `InvalidationRelay` sends it."""

    def __init__(self, ids: NewId) -> None:
        self._ids = ids
        self.added = threading.Event()

    def organization_changed(self, tx: Transaction, organization_id: UUID) -> None:
        """Invalidates the permissions of the organization's members."""
        self._add(tx, access.organization_changed(organization_id))

    def everything_changed(self, tx: Transaction) -> None:
        """Invalidates the permissions of every organization's members."""
        self._add(tx, access.EVERYTHING_CHANGED)

    def session_ended(self, tx: Transaction, session_id: UUID) -> None:
        """Invalidates the session."""
        self._add(tx, access.session_ended(session_id))

    def api_key_revoked(self, tx: Transaction, hash: bytes) -> None:
        """Invalidates the API key whose text has this SHA-256."""
        self._add(tx, access.api_key_revoked(hash))

    def _add(self, tx: Transaction, invalidation: CacheInvalidation) -> None:
        store.add(tx, self._ids(), invalidation)
        tx.after_commit.append(self.added.set)
