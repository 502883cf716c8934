"""The use cases of roles."""

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
from auth_service.access.invalidations import CacheInvalidations
from auth_service.organizations.acting import Actor, act
from auth_service.roles import store
from auth_service.roles.model import (
    BUILT_IN,
    MAX_CUSTOM_ROLES,
    Reason,
    Role,
    RoleBuiltIn,
    RoleInUse,
    RoleNotFound,
    in_words,
    require_free_name,
    why,
)

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why somebody may or may not do something; `granting` are codes of the roles that would let them."""

    reason: Reason
    words: str
    role: str
    granting: Sequence[str]


class RoleService:
    """The roles of every organization, and those that one makes for itself out of what its makers may."""

    def __init__(self, db: Database, invalidations: CacheInvalidations, clock: Clock, ids: NewId) -> None:
        self._db = db
        self._invalidations = invalidations
        self._clock = clock
        self._ids = ids

    def list_all(self, caller: Caller) -> Sequence[Role]:
        """Every organization's, and those of the caller's; for an API key those of its own."""
        if caller.api_key is not None:
            return store.of_organization(self._db, caller.api_key.organization_id)
        return store.of_person(self._db, caller.user_id)

    def create(
        self,
        caller: Caller,
        name: str,
        description: str,
        permissions: Collection[int],
        idempotency: Idempotency[Role, M],
    ) -> M:
        """Makes a role of the calling organization; RIGHTS_EXCEEDED, ROLE_EXISTS."""
        with self._db.transaction() as tx:
            if (seen := idempotency.replay(tx)) is not None:
                return seen
            actor = act(tx, caller)
            if store.count(tx, actor.tenant.id) >= MAX_CUSTOM_ROLES:
                raise LimitReached("roles of an organization's own", MAX_CUSTOM_ROLES)
            role = _role(actor, str(self._ids()), name, description, permissions)
            require_free_name(name, store.of_organization(tx, actor.tenant.id))
            store.add(tx, role, self._clock.now())
            return idempotency.record(tx, role)

    def update(self, caller: Caller, code: str, name: str, description: str, permissions: Collection[int]) -> Role:
        """Replaces a role's name, description and permissions.

        ROLE_NOT_FOUND, ROLE_BUILT_IN, RIGHTS_EXCEEDED, ROLE_EXISTS.
        """
        with self._db.transaction() as tx:
            actor = act(tx, caller)
            before = _own(tx, actor, code)
            actor.require(before.permissions)
            role = _role(actor, code, name, description, permissions)
            if name != before.name:
                others = store.of_organization(tx, actor.tenant.id)
                require_free_name(name, (other for other in others if other.code != code))
            store.replace(tx, role)
            self._invalidations.organization_changed(tx, actor.tenant.id)
            return role

    def delete(self, caller: Caller, code: str) -> None:
        """Deletes a role that nobody has; ROLE_NOT_FOUND, ROLE_BUILT_IN, RIGHTS_EXCEEDED, ROLE_IN_USE."""
        with self._db.transaction() as tx:
            actor = act(tx, caller)
            actor.require(_own(tx, actor, code).permissions)
            if store.in_use(tx, actor.tenant.id, code):
                raise RoleInUse(code)
            store.remove(tx, actor.tenant.id, code)
            self._invalidations.organization_changed(tx, actor.tenant.id)

    def explain(self, caller: Caller, user_id: UUID, permission: int) -> Explanation:
        """Why a member of the calling organization may or may not; nothing is said of anybody else."""
        kind = Organization.Kind.Name(Organization.Kind.ValueType(caller.organization_kind))
        role = store.of_member(self._db, caller.organization_id, user_id)
        reason = why(kind, role, permission)
        granting = [
            one.code
            for one in store.of_organization(self._db, caller.organization_id)
            if kind in one.kinds and why(kind, one, permission).allows
        ]
        return Explanation(reason, in_words(reason, role, permission), role.code if role else "", granting)


def _own(tx: Transaction, actor: Actor, code: str) -> Role:
    if code in BUILT_IN:
        raise RoleBuiltIn(code)
    role = store.find(tx, actor.tenant.id, code)
    if role is None:
        raise RoleNotFound(code)
    if role.built_in:
        raise RoleBuiltIn(code)
    return role


def _role(actor: Actor, code: str, name: str, description: str, permissions: Collection[int]) -> Role:
    actor.require(permissions)
    kinds = frozenset({actor.tenant.kind})
    return Role(code, name, description, frozenset(permissions), kinds, actor.tenant.id)
