"""Who changes something in an organization, and what they may at that very moment."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from adlib import permissions
from adlib.access import SessionEnded
from adlib.db import Session, Transaction
from adlib.errors import ApiKeyInvalid, NotAMember
from adlib.rpc import Caller
from auth_service.api_keys import store as api_keys
from auth_service.organizations import store
from auth_service.organizations.model import Tenant
from auth_service.roles import store as roles
from auth_service.roles.model import Role, RoleNotFound, held, require_within, rights
from auth_service.sessions import store as sessions


@dataclass(frozen=True, slots=True)
class Actor:
    """A caller with their organization, which is locked, and their rights in it."""

    user_id: UUID
    tenant: Tenant
    rights: frozenset[int]

    def require(self, *others: Collection[int]) -> None:
        """RIGHTS_EXCEEDED where any of these are beyond one's own."""
        require_within(self.rights, *others)


def act(tx: Transaction, caller: Caller) -> Actor:
    """Locks the caller's organization; what they may is read again, since the cache is up to a second old.

    TOKEN_INVALID, API_KEY_INVALID where the session or the key has ended meanwhile: what it makes would outlive it.
    """
    tenant = store.lock(tx, caller.organization_id)
    if caller.api_key is None and sessions.has_ended(tx, caller.session_id):
        raise SessionEnded
    if caller.api_key is not None and api_keys.is_revoked(tx, caller.api_key.id):
        raise ApiKeyInvalid
    now = rights_of(tx, tenant, caller.user_id) if tenant else None
    if tenant is None or now is None:
        raise NotAMember("you are not a member of the organization in the organization-id header")
    own = permissions.limited(caller.permissions, by=permissions.mask(now))
    return Actor(caller.user_id, tenant, held(tenant.kind, permissions.codes(own)))


def rights_of(db: Session, tenant: Tenant, user_id: UUID) -> frozenset[int] | None:
    """What the person may there; None where they are no member."""
    role = roles.of_member(db, tenant.id, user_id)
    return held(tenant.kind, role.permissions) if role else None


def assignable(db: Session, tenant: Tenant, code: str) -> tuple[Role, frozenset[int]]:
    """The role and what it gives there; ROLE_NOT_FOUND, ROLE_NOT_ASSIGNABLE."""
    role = roles.find(db, tenant.id, code)
    if role is None:
        raise RoleNotFound(code)
    return role, rights(role, tenant.kind)


def given_by(db: Session, tenant: Tenant, code: str) -> frozenset[int]:
    """What somebody who has the role may there."""
    role = roles.find(db, tenant.id, code)
    return held(tenant.kind, role.permissions) if role else frozenset()
