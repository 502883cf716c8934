"""Answers what a session may do."""

from uuid import UUID

from adlib.access import Access, SessionEnded
from adlib.db import Database
from adlib.identity import Person
from auth_service.access import store


class AccessService:
    """The source that every service's cache stands before."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def standing(self, person: Person, organization_id: UUID | None) -> Access | None:
        """The person's standing; None where the session has ended."""
        return store.standing(self._db, person.user_id, person.session_id, organization_id)

    def access(self, person: Person, organization_id: UUID | None) -> Access:
        """The person's standing; TOKEN_INVALID where the session has ended."""
        standing = self.standing(person, organization_id)
        if standing is None:
            raise SessionEnded
        return standing
