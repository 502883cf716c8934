"""Lists, creates, changes, deletes and explains roles."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from adplatform.auth.v1.auth_pb2 import Organization
from google.protobuf.message import Message

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import LimitReached
from adlib.idempotency import Idempotency
from adlib.ids import NewId
from adlib.rpc import Caller
from auth_service.authorization.model import BUILT_IN, Actor, Role, RoleNotFound
from auth_service.authorization.service import authorize
from auth_service.authorization.store import find_role, role_of_member
from auth_service.invalidations.service import CacheInvalidations
from auth_service.roles import store
from auth_service.roles.model import (
    MAX_CUSTOM_ROLES,
    Reason,
    RoleBuiltIn,
    RoleInUse,
    described,
    permission_reason,
    require_available_name,
)

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a user has or lacks a permission; `granting_roles` are the codes of the roles that grant it."""

    reason: Reason
    description: str
    role: str
    granting_roles: Sequence[str]


class RoleService:
    """The use cases of roles. A custom role has at most the permissions of the member who creates it."""

    def __init__(self, db: Database, invalidations: CacheInvalidations, clock: Clock, ids: NewId) -> None:
        self._db = db
        self._invalidations = invalidations
        self._clock = clock
        self._ids = ids

    def list_all(self, caller: Caller) -> Sequence[Role]:
        """The built-in roles and the custom roles of the caller's organizations, or of the API key's one."""
        if caller.api_key is not None:
            return store.of_organization(self._db, caller.api_key.organization_id)
        return store.of_user(self._db, caller.user_id)

    def create(
        self,
        caller: Caller,
        name: str,
        description: str,
        permissions: Collection[int],
        idempotency: Idempotency[Role, M],
    ) -> M:
        """Creates a custom role in the caller's organization; RIGHTS_EXCEEDED, ROLE_EXISTS, LIMIT_REACHED."""
        with self._db.transaction() as tx:
            if (replayed := idempotency.replay(tx)) is not None:
                return replayed
            actor = authorize(tx, caller)
            if store.count(tx, actor.tenant.id) >= MAX_CUSTOM_ROLES:
                raise LimitReached("custom roles in an organization", MAX_CUSTOM_ROLES)
            role = _custom_role(actor, str(self._ids()), name, description, permissions)
            require_available_name(name, store.of_organization(tx, actor.tenant.id))
            store.add(tx, role, self._clock.now())
            return idempotency.record(tx, role)

    def update(self, caller: Caller, code: str, name: str, description: str, permissions: Collection[int]) -> Role:
        """Replaces a role's name, description and permissions.

        ROLE_NOT_FOUND, ROLE_BUILT_IN, RIGHTS_EXCEEDED, ROLE_EXISTS.
        """
        with self._db.transaction() as tx:
            actor = authorize(tx, caller)
            before = _find_custom(tx, actor, code)
            actor.require(before.permissions)
            role = _custom_role(actor, code, name, description, permissions)
            if name != before.name:
                others = store.of_organization(tx, actor.tenant.id)
                require_available_name(name, (other for other in others if other.code != code))
            store.replace(tx, role)
            self._invalidations.organization_changed(tx, actor.tenant.id)
            return role

    def delete(self, caller: Caller, code: str) -> None:
        """Deletes an unused role; ROLE_NOT_FOUND, ROLE_BUILT_IN, RIGHTS_EXCEEDED, ROLE_IN_USE."""
        with self._db.transaction() as tx:
            actor = authorize(tx, caller)
            actor.require(_find_custom(tx, actor, code).permissions)
            if store.is_used(tx, actor.tenant.id, code):
                raise RoleInUse(code)
            store.remove(tx, actor.tenant.id, code)
            self._invalidations.organization_changed(tx, actor.tenant.id)

    def explain(self, caller: Caller, user_id: UUID, permission: int) -> Explanation:
        """Why a member of the caller's organization has or lacks the permission; for any other user NOT_A_MEMBER."""
        kind = Organization.Kind.Name(Organization.Kind.ValueType(caller.organization_kind))
        role = role_of_member(self._db, caller.organization_id, user_id)
        reason = permission_reason(kind, role, permission)
        granting = [
            one.code
            for one in store.of_organization(self._db, caller.organization_id)
            if kind in one.kinds and permission_reason(kind, one, permission).is_granted
        ]
        return Explanation(reason, described(reason, role, permission), role.code if role else "", granting)


def _find_custom(tx: Transaction, actor: Actor, code: str) -> Role:
    if code in BUILT_IN:
        raise RoleBuiltIn(code)
    role = find_role(tx, actor.tenant.id, code)
    if role is None:
        raise RoleNotFound(code)
    if role.is_built_in:
        raise RoleBuiltIn(code)
    return role


def _custom_role(actor: Actor, code: str, name: str, description: str, permissions: Collection[int]) -> Role:
    actor.require(permissions)
    kinds = frozenset({actor.tenant.kind})
    return Role(code, name, description, frozenset(permissions), kinds, actor.tenant.id)
