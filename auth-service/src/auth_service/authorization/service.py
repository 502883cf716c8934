"""Authorizes changes in an organization by the caller's current permissions."""

from uuid import UUID

from adlib import permissions
from adlib.access import SessionEnded
from adlib.db import Session, Transaction
from adlib.errors import ApiKeyInvalid, NotAMember
from adlib.rpc import Caller
from auth_service.authorization import store
from auth_service.authorization.model import Actor, Role, RoleNotFound, assignable_permissions, effective
from auth_service.sessions import store as sessions
from auth_service.tenancy import store as tenancy
from auth_service.tenancy.model import Tenant


def authorize(tx: Transaction, caller: Caller) -> Actor:
    """Locks the caller's organization and reads their permissions again: the cached ones are up to a second old.

    TOKEN_INVALID or API_KEY_INVALID if the session or key has ended meanwhile, since the changes would outlive it.
    """
    tenant = tenancy.lock(tx, caller.organization_id)
    if caller.api_key is None and sessions.has_ended(tx, caller.session_id):
        raise SessionEnded
    if caller.api_key is not None and store.is_api_key_revoked_any_tenant(tx, caller.api_key.id):
        raise ApiKeyInvalid
    current = permissions_of(tx, tenant, caller.user_id) if tenant else None
    if tenant is None or current is None:
        raise NotAMember("you are not a member of the organization in the organization-id header")
    own = permissions.limited(caller.permissions, by=permissions.mask(current))
    return Actor(caller.user_id, tenant, effective(tenant.kind, permissions.codes(own)))


def permissions_of(db: Session, tenant: Tenant, user_id: UUID) -> frozenset[int] | None:
    """The user's permissions in the organization; None if they are not a member."""
    role = store.role_of_member(db, tenant.id, user_id)
    return effective(tenant.kind, role.permissions) if role else None


def assignable_role(db: Session, tenant: Tenant, code: str) -> tuple[Role, frozenset[int]]:
    """The role and the permissions that assigning it grants; ROLE_NOT_FOUND, ROLE_NOT_ASSIGNABLE."""
    role = store.find_role(db, tenant.id, code)
    if role is None:
        raise RoleNotFound(code)
    return role, assignable_permissions(role, tenant.kind)


def permissions_of_role(db: Session, tenant: Tenant, code: str) -> frozenset[int]:
    """The permissions of a member with this role; none if the role does not exist."""
    role = store.find_role(db, tenant.id, code)
    return effective(tenant.kind, role.permissions) if role else frozenset()
