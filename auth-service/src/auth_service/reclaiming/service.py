"""Revokes every credential of an unverified account once its address is proven by its owner.

Anybody can sign up with another person's e-mail address and wait for its owner (account pre-hijacking). An account has
one credential until its address is verified, so a session of the account shows that the caller created it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from adlib.clock import Clock
from adlib.db import Transaction
from adlib.outbox import Outbox
from adlib.rpc import Caller
from auth_service.api_keys import store as api_keys
from auth_service.credentials import store as credentials
from auth_service.invalidations.service import CacheInvalidations
from auth_service.invitations.model import Invitation
from auth_service.invitations.service import delete_invitation
from auth_service.links.model import Purpose
from auth_service.links.service import Links
from auth_service.members.messages import membership_reclaimed
from auth_service.members.service import end_membership
from auth_service.reclaiming import store
from auth_service.sessions.service import SessionService
from auth_service.tenancy import store as tenancy
from auth_service.tenancy.model import Member, Tenant
from auth_service.users import store as users
from auth_service.users.model import User

T = TypeVar("T")


class AccountReclaimer:
    """Verifies e-mail addresses and revokes credentials and grants that the owner may not have created."""

    def __init__(
        self, outbox: Outbox, sessions: SessionService, links: Links, invalidations: CacheInvalidations, clock: Clock
    ) -> None:
        self._outbox = outbox
        self._sessions = sessions
        self._links = links
        self._invalidations = invalidations
        self._clock = clock

    def verify_email(self, tx: Transaction, user: User, session: Caller | None) -> bool:
        """Verifies the address; returns True if the account was not reclaimed, because `session` is one of its own.

        With a session of the account, its other sessions end; without one, the account is reclaimed. TOKEN_INVALID if
        the session has ended meanwhile.
        """
        if session is None or session.user_id != user.id:
            self.reclaim(tx, user)
            return False
        self.end_other_sessions(tx, user, session)
        users.verify_email(tx, user.id, user.email, self._clock.now())
        for organization_id in tenancy.organization_ids_any_tenant(tx, user.id):
            self._invalidations.organization_changed(tx, organization_id)
        return True

    def end_other_sessions(self, tx: Transaction, user: User, session: Caller) -> None:
        """Ends every session of the user except this one; TOKEN_INVALID if it has ended itself."""
        self._sessions.require_live(tx, user.id, session.session_id)
        self._sessions.end_all(tx, user.id, except_id=session.session_id)

    def reclaim(self, tx: Transaction, user: User) -> None:
        """Verifies the address; revokes the password, Firebase user, sessions, links, API keys and their grants."""
        now = self._clock.now()
        self._revoke_grants(tx, user, now)
        credentials.remove_password(tx, user.id)
        users.unlink_firebase(tx, user.id, now)
        self._sessions.end_all(tx, user.id)
        self._links.void(tx, user.id, Purpose.VERIFY_EMAIL, Purpose.RESET_PASSWORD, Purpose.CHANGE_EMAIL)
        self.revoke_api_keys(tx, user)
        users.verify_email(tx, user.id, user.email, now)

    def revoke_api_keys(self, tx: Transaction, user: User) -> Sequence[str]:
        """Revokes the user's API keys in every organization; returns their names."""
        for organization_id in tenancy.organization_ids_any_tenant(tx, user.id):
            # Waits for calls that are creating a key; later ones find that their session has ended.
            tenancy.lock(tx, organization_id)
        revoked = api_keys.revoke_of_user_any_tenant(tx, user.id, self._clock.now())
        for hash in revoked:
            self._invalidations.api_key_revoked(tx, hash)
        return list(revoked.values())

    def affects_others(self, tx: Transaction, user: User) -> bool:
        """Whether `reclaim` would end an API key, a membership or an invitation."""
        return store.shares_organization_any_tenant(tx, user.id) or api_keys.has_live_any_tenant(
            tx, user.id, self._clock.now()
        )

    def _revoke_grants(self, tx: Transaction, user: User, at: datetime) -> None:
        """Ends the memberships and invitations that the account granted, and its membership in those it transferred.

        The user stays the only member of an organization that the account created. A membership that the account
        accepted by invitation remains: the invitation was mailed to the address, so its owner accepted it.
        """
        for organization_id in tenancy.organization_ids_any_tenant(tx, user.id):
            tenant = tenancy.lock(tx, organization_id)
            member = tenancy.member(tx, organization_id, user.id)
            if tenant is None or member is None:
                continue
            self._invalidations.organization_changed(tx, tenant.id)
            if tenant.kind == "PLATFORM" or store.has_accepted_invitation(tx, tenant.id, user.email):
                self._withdraw(tx, _drain(partial(store.open_invitations_by, tx, tenant.id, user.id)))
                self._remove(tx, tenant, _drain(partial(store.members_invited_by, tx, tenant, user.id)), at)
            elif member.role == tenant.owner_role:
                self._withdraw(tx, _drain(partial(store.open_invitations, tx, tenant.id)))
                self._remove(tx, tenant, _drain(partial(store.other_members, tx, tenant.id, user.id)), at)
                tenancy.set_owner(tx, tenant.id, user.id, at)
            else:
                # The account transferred it: its new owner would spend the user's deposits.
                end_membership(tx, self._invalidations, tenant, member, at)

    def _withdraw(self, tx: Transaction, invitations: Iterable[Invitation]) -> None:
        for invitation in invitations:
            delete_invitation(tx, self._links, invitation)

    def _remove(self, tx: Transaction, tenant: Tenant, members: Iterable[Member], at: datetime) -> None:
        for member in members:
            end_membership(tx, self._invalidations, tenant, member, at)
            self._outbox.append(tx, tenant.id, membership_reclaimed(tenant, member.id))


def _drain(read_batch: Callable[[], Sequence[T]]) -> Iterator[T]:
    """Reads batches until there are no more rows; the caller deletes each row before the next batch is read."""
    while batch := read_batch():
        yield from batch
