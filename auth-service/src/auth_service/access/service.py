"""Answers what callers may do."""

from datetime import timedelta
from uuid import UUID

from adlib.access import Access, SessionEnded
from adlib.clock import Clock
from adlib.db import Database
from adlib.identity import NO_SESSION, ApiKey, Person
from auth_service.access import store

# The shared cache keeps a key for a minute, so its use is seen here about as often.
_USE_IS_NOTED_EVERY = timedelta(minutes=1)


class AccessService:
    """The source that every service's cache stands before."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def standing(self, person: Person, organization_id: UUID | None) -> Access | None:
        """The person's standing; None where the session has ended."""
        if person.session_id == NO_SESSION and organization_id:
            return store.of_member(self._db, person.user_id, organization_id)
        return store.of_session(self._db, person.user_id, person.session_id, organization_id)

    def access(self, person: Person, organization_id: UUID | None) -> Access:
        """The person's standing; TOKEN_INVALID where the session has ended."""
        standing = self.standing(person, organization_id)
        if standing is None:
            raise SessionEnded
        return standing

    def api_key(self, hash: bytes) -> ApiKey | None:
        """The API key whose text has this SHA-256; None where there is none, or none that works any more."""
        now = self._clock.now()
        key = store.api_key(self._db, hash, now)
        if key:
            with self._db.transaction() as tx:
                store.key_used(tx, key, now, before=now - _USE_IS_NOTED_EVERY)
        return key

    def organization_name(self, organization_id: UUID) -> str | None:
        """What the organization calls itself; None where there is no such organization."""
        return store.organization_name(self._db, organization_id)
