"""The use cases of organizations themselves."""

from dataclasses import replace
from typing import TypeVar
from uuid import UUID

from adplatform.events.v1.events_pb2 import UserNotified
from google.protobuf.message import Message

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import InvalidField, LimitReached
from adlib.idempotency import Idempotency
from adlib.ids import NewId
from adlib.outbox import Outbox
from adlib.rpc import Caller
from auth_service.access.invalidations import CacheInvalidations
from auth_service.accounts import store as accounts
from auth_service.accounts.model import Organization
from auth_service.organizations import store
from auth_service.organizations.acting import act, assignable, given_by
from auth_service.organizations.model import (
    DEFAULT_FORMER_OWNER_ROLE,
    MAX_OWNED,
    MemberNotFound,
    OrganizationNotFound,
    OwnerRequired,
)
from auth_service.roles.model import OWNER_ROLE

M = TypeVar("M", bound=Message)


class OrganizationService:
    """Making, renaming and handing over."""

    def __init__(
        self, db: Database, outbox: Outbox, invalidations: CacheInvalidations, clock: Clock, ids: NewId
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._invalidations = invalidations
        self._clock = clock
        self._ids = ids

    def create(self, user_id: UUID, name: str, kind: str, idempotency: Idempotency[Organization, M]) -> M:
        """Makes an organization that the person owns, ADVERTISER or PUBLISHER."""
        with self._db.transaction() as tx:
            if (seen := idempotency.replay(tx)) is not None:
                return seen
            store.lock_person(tx, user_id)
            if store.count_owned(tx, user_id) >= MAX_OWNED:
                raise LimitReached("organizations that one person owns", MAX_OWNED)
            organization = Organization(self._ids(), name, kind)
            accounts.add_organization(tx, organization, user_id, OWNER_ROLE[kind], self._clock.now())
            # That they were no member may be remembered somewhere.
            self._invalidations.organization_changed(tx, organization.id)
            return idempotency.record(tx, organization)

    def rename(self, caller: Caller, organization_id: UUID, name: str) -> Organization:
        """Gives the calling organization another name; ORGANIZATION_NOT_FOUND."""
        _require_own(caller, organization_id)
        with self._db.transaction() as tx:
            tenant = act(tx, caller).tenant
            store.rename(tx, tenant.id, name, self._clock.now())
            return replace(tenant.organization, name=name)

    def transfer(self, caller: Caller, organization_id: UUID, user_id: UUID, former_role: str) -> Organization:
        """Makes another member the owner, and the owner what `former_role` says, manager where it is empty.

        ORGANIZATION_NOT_FOUND, OWNER_REQUIRED, USER_NOT_FOUND, ROLE_NOT_FOUND, ROLE_NOT_ASSIGNABLE.
        """
        _require_own(caller, organization_id)
        with self._db.transaction() as tx:
            actor = act(tx, caller)
            tenant = actor.tenant
            if caller.api_key is not None or actor.user_id != tenant.owner_id:
                raise OwnerRequired
            if user_id == tenant.owner_id:
                raise InvalidField("userId", "is the owner already")
            target = store.member(tx, tenant.id, user_id)
            if target is None:
                raise MemberNotFound(user_id)
            role, former = assignable(tx, tenant, former_role or DEFAULT_FORMER_OWNER_ROLE)
            actor.require(given_by(tx, tenant, tenant.owner_role), former)
            store.set_role(tx, tenant.id, target.id, tenant.owner_role)
            store.set_role(tx, tenant.id, actor.user_id, role.code)
            store.set_owner(tx, tenant.id, target.id, self._clock.now())
            self._invalidations.organization_changed(tx, tenant.id)
            received = UserNotified(
                user_id=str(target.id),
                kind=UserNotified.OWNERSHIP_RECEIVED,
                title=f"You are now the owner of {tenant.organization.name}",
                body="Its owner has handed it over to you.",
            )
            self._outbox.append(tx, tenant.id, received)
            return tenant.organization


def _require_own(caller: Caller, organization_id: UUID) -> None:
    if organization_id != caller.organization_id:
        raise OrganizationNotFound(organization_id)
