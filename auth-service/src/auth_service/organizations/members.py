"""The use cases of members."""

from dataclasses import replace
from uuid import UUID

from adplatform.events.v1.events_pb2 import UserNotified

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.outbox import Outbox
from adlib.paging import Page, Slice, cut
from adlib.rpc import Caller
from auth_service.access.invalidations import CacheInvalidations
from auth_service.api_keys import store as api_keys
from auth_service.organizations import store
from auth_service.organizations.acting import act, assignable, given_by
from auth_service.organizations.invitations import InvitationService
from auth_service.organizations.model import LastOwner, Member, OrganizationNotFound, OwnerRequired, Tenant


class MemberService:
    """Roles and ends of memberships. Every organization keeps an owner."""

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        invalidations: CacheInvalidations,
        invitations: InvitationService,
        clock: Clock,
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._invalidations = invalidations
        self._invitations = invitations
        self._clock = clock

    def list_page(self, caller: Caller, page: Page) -> Slice[Member]:
        """Members and open invitations, newest first."""
        return cut(store.list_page(self._db, caller.organization_id, page), page, lambda member: member.id)

    def change_role(self, caller: Caller, user_id: UUID, code: str) -> Member:
        """Gives a member or an invitation another role.

        USER_NOT_FOUND, ROLE_NOT_FOUND, ROLE_NOT_ASSIGNABLE, RIGHTS_EXCEEDED, OWNER_REQUIRED, LAST_OWNER.
        """
        with self._db.transaction() as tx:
            actor = act(tx, caller)
            tenant = actor.tenant
            member = store.member(tx, tenant.id, user_id)
            if member is None:
                return self._invitations.change_role(tx, actor, user_id, code)
            role, given = assignable(tx, tenant, code)
            actor.require(given, given_by(tx, tenant, member.role))
            if role.code == member.role:
                return member
            _require_owner(caller, tenant, member)
            self._keep_an_owner(tx, tenant, member)
            store.set_role(tx, tenant.id, user_id, role.code)
            self._invalidations.organization_changed(tx, tenant.id)
            if user_id != actor.user_id:
                title = f"Your role in {tenant.organization.name} is now {role.name}"
                body = "What you may do there has changed with it. If that is wrong, ask the organization's owner."
                self._notify(tx, tenant, user_id, UserNotified.ROLE_CHANGED, title, body)
            return replace(member, role=role.code)

    def remove(self, caller: Caller, user_id: UUID) -> None:
        """Ends a membership or withdraws an invitation; USER_NOT_FOUND, RIGHTS_EXCEEDED, OWNER_REQUIRED, LAST_OWNER."""
        with self._db.transaction() as tx:
            actor = act(tx, caller)
            tenant = actor.tenant
            member = store.member(tx, tenant.id, user_id)
            if member is None:
                self._invitations.withdraw(tx, actor, user_id)
                return
            actor.require(given_by(tx, tenant, member.role))
            _require_owner(caller, tenant, member)
            self._end(tx, tenant, member)
            if user_id != actor.user_id:
                title = f"You are no longer a member of {tenant.organization.name}"
                body = "Somebody removed you, and revoked the API keys you made there."
                self._notify(tx, tenant, user_id, UserNotified.MEMBERSHIP_ENDED, title, body)

    def leave(self, user_id: UUID, organization_id: UUID) -> None:
        """Ends the person's own membership; ORGANIZATION_NOT_FOUND, LAST_OWNER."""
        with self._db.transaction() as tx:
            tenant = store.lock(tx, organization_id)
            member = store.member(tx, organization_id, user_id)
            if tenant is None or member is None:
                raise OrganizationNotFound(organization_id)
            self._end(tx, tenant, member)

    def _end(self, tx: Transaction, tenant: Tenant, member: Member) -> None:
        self._keep_an_owner(tx, tenant, member)
        store.remove_member(tx, tenant.id, member.id)
        self._invalidations.organization_changed(tx, tenant.id)
        # They would stop with the membership, but come back with it, too.
        for hash in api_keys.revoke_of_member(tx, tenant.id, member.id, self._clock.now()):
            self._invalidations.api_key_revoked(tx, hash)

    def _keep_an_owner(self, tx: Transaction, tenant: Tenant, member: Member) -> None:
        """LAST_OWNER where nobody else has the owners' role; whoever has had it longest becomes the owner instead."""
        if member.role != tenant.owner_role:
            return
        heir = store.other_owner(tx, tenant.id, tenant.owner_role, member.id)
        if heir is None:
            raise LastOwner
        if tenant.owner_id == member.id:
            store.set_owner(tx, tenant.id, heir, self._clock.now())
            title = f"You are now the owner of {tenant.organization.name}"
            body = "Whoever owned it has another role now, or has left."
            self._notify(tx, tenant, heir, UserNotified.OWNERSHIP_RECEIVED, title, body)

    def _notify(
        self, tx: Transaction, tenant: Tenant, user_id: UUID, kind: UserNotified.Kind.ValueType, title: str, body: str
    ) -> None:
        self._outbox.append(tx, tenant.id, UserNotified(user_id=str(user_id), kind=kind, title=title, body=body))


def _require_owner(caller: Caller, tenant: Tenant, member: Member) -> None:
    """OWNER_REQUIRED where it is about the owner: a co-owner would take the organization by demoting them."""
    if member.id == tenant.owner_id and (caller.user_id != tenant.owner_id or caller.api_key is not None):
        raise OwnerRequired
