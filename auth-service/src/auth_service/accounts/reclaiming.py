"""Whoever shows that an e-mail is theirs gets the account that was made for it, and nobody else keeps a way in."""

from adlib.clock import Clock
from adlib.db import Transaction
from auth_service.access.marks import Marks
from auth_service.accounts import store
from auth_service.accounts.model import User
from auth_service.api_keys import store as api_keys
from auth_service.links.model import Purpose
from auth_service.links.service import Links
from auth_service.sessions.service import SessionService


class Reclaiming:
    """Closes every way into an account whose e-mail was never verified: somebody else may have made it, and wait."""

    def __init__(self, sessions: SessionService, links: Links, marks: Marks, clock: Clock) -> None:
        self._sessions = sessions
        self._links = links
        self._marks = marks
        self._clock = clock

    def reclaim(self, tx: Transaction, user: User) -> None:
        """Removes the password and the Firebase user, ends sessions, links and API keys; verifies the e-mail."""
        now = self._clock.now()
        store.remove_password(tx, user.id)
        store.link_firebase(tx, user.id, None, now)
        self._sessions.end_all(tx, user.id)
        self._links.void(tx, user.id, Purpose.VERIFY_EMAIL, Purpose.RESET_PASSWORD, Purpose.CHANGE_EMAIL)
        for membership in store.memberships(tx, user.id):
            for hash in api_keys.revoke_of_member(tx, membership.organization.id, user.id, now):
                self._marks.api_key_revoked(tx, hash)
        store.verify_email(tx, user.id, user.email, now)
