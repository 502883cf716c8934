"""Revokes every credential of an account once its e-mail is proven by somebody who shows no session of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from adlib.clock import Clock
from adlib.db import Transaction
from adlib.rpc import Caller
from auth_service.access.invalidations import CacheInvalidations
from auth_service.accounts import store
from auth_service.accounts.model import User
from auth_service.api_keys import store as api_keys
from auth_service.links.model import Purpose
from auth_service.links.service import Links
from auth_service.organizations import store as organizations
from auth_service.organizations.taking_back import Notice, organization_ids, take_back
from auth_service.sessions.service import SessionService


@dataclass(frozen=True, slots=True)
class Proven:
    """An e-mail was proven: by a session of the account itself or not; `notices` are for the outbox."""

    by_own_session: bool
    notices: Sequence[Notice] = ()


class Reclaiming:
    """Revokes every credential of an account that its e-mail's owner has not shown to be theirs."""

    def __init__(self, sessions: SessionService, links: Links, invalidations: CacheInvalidations, clock: Clock) -> None:
        self._sessions = sessions
        self._links = links
        self._invalidations = invalidations
        self._clock = clock

    def prove(self, tx: Transaction, user: User, by: Caller | None) -> Proven:
        """Verifies the e-mail. A session of the account itself ends the others; anybody else gets the bare account.

        Every session began with the account's one credential, so what any of them made is of the same person as the
        one that proves the e-mail. TOKEN_INVALID where that one has ended meanwhile.
        """
        if by is None or by.user_id != user.id:
            return Proven(False, self.reclaim(tx, user))
        self.keep_only(tx, user, by)
        store.verify_email(tx, user.id, user.email, self._clock.now())
        for organization_id in organization_ids(tx, user.id):
            self._invalidations.organization_changed(tx, organization_id)
        return Proven(True)

    def keep_only(self, tx: Transaction, user: User, by: Caller) -> None:
        """Ends every session but this one of theirs; TOKEN_INVALID where it has ended itself."""
        self._sessions.require_live(tx, user.id, by.session_id)
        self._sessions.end_all(tx, user.id, but=by.session_id)

    def reclaim(self, tx: Transaction, user: User) -> Sequence[Notice]:
        """Ends the password, Firebase user, sessions, links and API keys, and what they gave; verifies the e-mail."""
        now = self._clock.now()
        notices = take_back(tx, user, invalidations=self._invalidations, links=self._links, at=now)
        store.remove_password(tx, user.id)
        store.link_firebase(tx, user.id, None, now)
        self._sessions.end_all(tx, user.id)
        self._links.void(tx, user.id, Purpose.VERIFY_EMAIL, Purpose.RESET_PASSWORD, Purpose.CHANGE_EMAIL)
        self.revoke_api_keys(tx, user)
        store.verify_email(tx, user.id, user.email, now)
        return notices

    def revoke_api_keys(self, tx: Transaction, user: User) -> Sequence[str]:
        """Revokes the API keys that the person made; what they are called."""
        for organization_id in organization_ids(tx, user.id):
            # A call that is making one there has finished, or finds that its session has ended.
            organizations.lock(tx, organization_id)
        revoked = api_keys.revoke_of_person_any_tenant(tx, user.id, self._clock.now())
        for hash in revoked:
            self._invalidations.api_key_revoked(tx, hash)
        return list(revoked.values())

    def takes_from_others(self, tx: Transaction, user: User) -> bool:
        """Whether `reclaim` would end an API key, a membership or an invitation."""
        return organizations.is_shared_any_tenant(tx, user.id) or api_keys.has_live_any_tenant(
            tx, user.id, self._clock.now()
        )
