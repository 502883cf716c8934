"""Lists members, changes their roles and ends their memberships."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.outbox import Outbox
from adlib.paging import Page, Slice, cut
from adlib.rpc import Caller
from auth_service.api_keys import store as api_keys
from auth_service.authorization.service import assignable_role, authorize, permissions_of_role
from auth_service.invalidations.service import CacheInvalidations
from auth_service.invitations.service import InvitationService
from auth_service.members import store
from auth_service.members.messages import member_removed, ownership_inherited, role_changed
from auth_service.members.model import LastOwner, OwnerRequired
from auth_service.tenancy import store as tenancy
from auth_service.tenancy.model import Member, OrganizationNotFound, Tenant


class MemberService:
    """The use cases of members. An organization always has an owner."""

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
        """Changes the role of a member or an open invitation.

        USER_NOT_FOUND, ROLE_NOT_FOUND, ROLE_NOT_ASSIGNABLE, RIGHTS_EXCEEDED, OWNER_REQUIRED, LAST_OWNER.
        """
        with self._db.transaction() as tx:
            actor = authorize(tx, caller)
            tenant = actor.tenant
            member = tenancy.member(tx, tenant.id, user_id)
            if member is None:
                return self._invitations.change_role(tx, actor, user_id, code)
            role, assigned = assignable_role(tx, tenant, code)
            actor.require(assigned, permissions_of_role(tx, tenant, member.role))
            if role.code == member.role:
                return member
            _require_not_owner(caller, tenant, member)
            self._pass_on_ownership(tx, tenant, member)
            tenancy.set_role(tx, tenant.id, user_id, role.code)
            self._invalidations.organization_changed(tx, tenant.id)
            if user_id != actor.user_id:
                self._outbox.append(tx, tenant.id, role_changed(tenant, user_id, role.name))
            return replace(member, role=role.code)

    def remove(self, caller: Caller, user_id: UUID) -> None:
        """Removes a member or an open invitation; USER_NOT_FOUND, RIGHTS_EXCEEDED, OWNER_REQUIRED, LAST_OWNER."""
        with self._db.transaction() as tx:
            actor = authorize(tx, caller)
            tenant = actor.tenant
            member = tenancy.member(tx, tenant.id, user_id)
            if member is None:
                self._invitations.withdraw(tx, actor, user_id)
                return
            actor.require(permissions_of_role(tx, tenant, member.role))
            _require_not_owner(caller, tenant, member)
            self._end(tx, tenant, member)
            if user_id != actor.user_id:
                self._outbox.append(tx, tenant.id, member_removed(tenant, user_id))

    def leave(self, user_id: UUID, organization_id: UUID) -> None:
        """Ends the user's own membership; ORGANIZATION_NOT_FOUND, LAST_OWNER."""
        with self._db.transaction() as tx:
            tenant = tenancy.lock(tx, organization_id)
            member = tenancy.member(tx, organization_id, user_id)
            if tenant is None or member is None:
                raise OrganizationNotFound(organization_id)
            self._end(tx, tenant, member)

    def _end(self, tx: Transaction, tenant: Tenant, member: Member) -> None:
        self._pass_on_ownership(tx, tenant, member)
        self._invalidations.organization_changed(tx, tenant.id)
        end_membership(tx, self._invalidations, tenant, member, self._clock.now())

    def _pass_on_ownership(self, tx: Transaction, tenant: Tenant, member: Member) -> None:
        """If the member is the owner, makes the longest-standing other member with that role the owner; LAST_OWNER."""
        if member.role != tenant.owner_role:
            return
        successor_id = store.longest_with_role(tx, tenant.id, tenant.owner_role, except_id=member.id)
        if successor_id is None:
            raise LastOwner
        if tenant.owner_id == member.id:
            tenancy.set_owner(tx, tenant.id, successor_id, self._clock.now())
            self._outbox.append(tx, tenant.id, ownership_inherited(tenant, successor_id))


def end_membership(
    tx: Transaction, invalidations: CacheInvalidations, tenant: Tenant, member: Member, at: datetime
) -> None:
    """Ends the membership and revokes the member's API keys, which would work again after a new invitation."""
    tenancy.remove_member(tx, tenant.id, member.id)
    for hash in api_keys.revoke_of_member(tx, tenant.id, member.id, at):
        invalidations.api_key_revoked(tx, hash)


def _require_not_owner(caller: Caller, tenant: Tenant, member: Member) -> None:
    """OWNER_REQUIRED if the member is the owner and not the caller: a co-owner could seize the organization."""
    if member.id == tenant.owner_id and (caller.user_id != tenant.owner_id or caller.api_key is not None):
        raise OwnerRequired
