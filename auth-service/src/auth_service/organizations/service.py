"""Creates, renames and transfers organizations."""

from dataclasses import replace
from typing import TypeVar
from uuid import UUID

from google.protobuf.message import Message

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import InvalidField, LimitReached
from adlib.idempotency import Idempotency
from adlib.ids import NewId
from adlib.outbox import Outbox
from adlib.rpc import Caller
from auth_service.authorization.service import assignable_role, authorize, permissions_of_role
from auth_service.invalidations.service import CacheInvalidations
from auth_service.members.messages import ownership_transferred
from auth_service.members.model import OwnerRequired
from auth_service.organizations import store
from auth_service.organizations.model import DEFAULT_FORMER_OWNER_ROLE, MAX_OWNED
from auth_service.tenancy import store as tenancy
from auth_service.tenancy.model import MemberNotFound, Organization, OrganizationNotFound

M = TypeVar("M", bound=Message)


class OrganizationService:
    """The use cases of organizations."""

    def __init__(
        self, db: Database, outbox: Outbox, invalidations: CacheInvalidations, clock: Clock, ids: NewId
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._invalidations = invalidations
        self._clock = clock
        self._ids = ids

    def create(self, user_id: UUID, name: str, kind: str, idempotency: Idempotency[Organization, M]) -> M:
        """Creates an organization, ADVERTISER or PUBLISHER, that the user owns; LIMIT_REACHED."""
        with self._db.transaction() as tx:
            if (replayed := idempotency.replay(tx)) is not None:
                return replayed
            store.lock_user(tx, user_id)
            if store.count_owned(tx, user_id) >= MAX_OWNED:
                raise LimitReached("organizations that one person owns", MAX_OWNED)
            organization = Organization(self._ids(), name, kind)
            tenancy.add(tx, organization, user_id, self._clock.now())
            # Caches may have stored that the user is not a member.
            self._invalidations.organization_changed(tx, organization.id)
            return idempotency.record(tx, organization)

    def rename(self, caller: Caller, organization_id: UUID, name: str) -> Organization:
        """Changes the name of the caller's organization; ORGANIZATION_NOT_FOUND."""
        _require_own(caller, organization_id)
        with self._db.transaction() as tx:
            tenant = authorize(tx, caller).tenant
            store.rename(tx, tenant.id, name, self._clock.now())
            return replace(tenant.organization, name=name)

    def transfer(self, caller: Caller, organization_id: UUID, user_id: UUID, former_role: str) -> Organization:
        """Makes another member the owner and assigns `former_role`, by default manager, to the former owner.

        ORGANIZATION_NOT_FOUND, OWNER_REQUIRED, USER_NOT_FOUND, ROLE_NOT_FOUND, ROLE_NOT_ASSIGNABLE.
        """
        _require_own(caller, organization_id)
        with self._db.transaction() as tx:
            actor = authorize(tx, caller)
            tenant = actor.tenant
            if caller.api_key is not None or actor.user_id != tenant.owner_id:
                raise OwnerRequired
            if user_id == tenant.owner_id:
                raise InvalidField("userId", "is the owner already")
            target = tenancy.member(tx, tenant.id, user_id)
            if target is None:
                raise MemberNotFound(user_id)
            role, assigned = assignable_role(tx, tenant, former_role or DEFAULT_FORMER_OWNER_ROLE)
            actor.require(permissions_of_role(tx, tenant, tenant.owner_role), assigned)
            tenancy.set_role(tx, tenant.id, target.id, tenant.owner_role)
            tenancy.set_role(tx, tenant.id, actor.user_id, role.code)
            tenancy.set_owner(tx, tenant.id, target.id, self._clock.now())
            self._invalidations.organization_changed(tx, tenant.id)
            self._outbox.append(tx, tenant.id, ownership_transferred(tenant, target.id))
            return tenant.organization


def _require_own(caller: Caller, organization_id: UUID) -> None:
    if organization_id != caller.organization_id:
        raise OrganizationNotFound(organization_id)
