"""Reports callers' permissions to the services."""

from datetime import timedelta
from uuid import UUID

from adlib.access import Access, SessionEnded
from adlib.clock import Clock
from adlib.db import Database
from adlib.identity import NO_SESSION, ApiKey, Person
from auth_service.access import store

# The services cache a key for a minute, so a key in use is looked up here about as often.
_LAST_USED_INTERVAL = timedelta(minutes=1)


class AccessService:
    """The source of every service's access cache."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def find_access(self, person: Person, organization_id: UUID | None) -> Access | None:
        """The person's access to the organization; None if the session has ended."""
        if person.session_id == NO_SESSION and organization_id:
            return store.of_member(self._db, person.user_id, organization_id)
        return store.of_session(self._db, person.user_id, person.session_id, organization_id)

    def access(self, person: Person, organization_id: UUID | None) -> Access:
        """The person's access to the organization; TOKEN_INVALID if the session has ended."""
        access = self.find_access(person, organization_id)
        if access is None:
            raise SessionEnded
        return access

    def api_key(self, hash: bytes) -> ApiKey | None:
        """The live API key whose text has this SHA-256."""
        now = self._clock.now()
        key = store.api_key_any_tenant(self._db, hash, now)
        if key:
            with self._db.transaction() as tx:
                store.mark_api_key_used(tx, key, now, before=now - _LAST_USED_INTERVAL)
        return key

    def organization_name(self, organization_id: UUID) -> str | None:
        """The organization's name; None if it does not exist."""
        return store.organization_name(self._db, organization_id)
