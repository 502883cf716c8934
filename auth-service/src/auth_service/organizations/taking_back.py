"""Ends what an account gave to others before its e-mail was verified by somebody who shows no session of it."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

from adplatform.events.v1.events_pb2 import UserNotified

from adlib.db import Transaction
from auth_service.access.invalidations import CacheInvalidations
from auth_service.accounts.model import User
from auth_service.api_keys import store as api_keys
from auth_service.links.model import Purpose
from auth_service.links.service import Links
from auth_service.organizations import store
from auth_service.organizations.model import Invitation, Member, Tenant

T = TypeVar("T")

# An event for the outbox, with its organization.
Notice = tuple[UUID, UserNotified]

_NO_UUID = UUID(int=0)


def organization_ids(tx: Transaction, user_id: UUID) -> Iterator[UUID]:
    """Every organization that the person is a member of, in one order, so that two who lock them do not deadlock."""
    after = _NO_UUID
    while some := store.organization_ids_any_tenant(tx, user_id, after):
        yield from some
        after = some[-1]


def take_back(
    tx: Transaction, user: User, *, invalidations: CacheInvalidations, links: Links, at: datetime
) -> Sequence[Notice]:
    """Ends the memberships that the account gave, its invitations, and its own membership in what it gave away.

    An organization that it made is its own alone afterwards. What it joined by an invitation stays: that was mailed to
    the e-mail, so its owner accepted. The notices are for those who are members no longer.
    """
    notices: list[Notice] = []
    for organization_id in organization_ids(tx, user.id):
        tenant = store.lock(tx, organization_id)
        member = store.member(tx, organization_id, user.id)
        if tenant is None or member is None:
            continue
        invalidations.organization_changed(tx, tenant.id)
        if tenant.kind == "PLATFORM" or store.has_joined(tx, tenant.id, user.email):
            _withdraw(tx, links, _all(partial(store.open_invitations_by, tx, tenant.id, user.id)))
            ended = _remove(tx, tenant, invalidations, at, _all(partial(store.invited_members, tx, tenant, user.id)))
        elif member.role == tenant.owner_role:
            _withdraw(tx, links, _all(partial(store.open_invitations, tx, tenant.id)))
            ended = _remove(tx, tenant, invalidations, at, _all(partial(store.others, tx, tenant.id, user.id)))
            store.set_owner(tx, tenant.id, user.id, at)
        else:
            # It was handed over: its new owner would spend what the person pays in.
            _remove(tx, tenant, invalidations, at, [member])
            ended = []
        notices += [(tenant.id, _ended(tenant, one)) for one in ended]
    return notices


def _all(some: Callable[[], Sequence[T]]) -> Iterator[T]:
    """Asks again until there are none: each is removed before the next are asked for."""
    while found := some():
        yield from found


def _withdraw(tx: Transaction, links: Links, invitations: Iterator[Invitation]) -> None:
    for invitation in invitations:
        links.void(tx, invitation.id, Purpose.INVITATION)
        store.remove_invitation(tx, invitation)


def _remove(
    tx: Transaction,
    tenant: Tenant,
    invalidations: CacheInvalidations,
    at: datetime,
    members: Iterator[Member] | Sequence[Member],
) -> Sequence[Member]:
    removed = []
    for member in members:
        store.remove_member(tx, tenant.id, member.id)
        for hash in api_keys.revoke_of_member(tx, tenant.id, member.id, at):
            invalidations.api_key_revoked(tx, hash)
        removed.append(member)
    return removed


def _ended(tenant: Tenant, member: Member) -> UserNotified:
    return UserNotified(
        user_id=str(member.id),
        kind=UserNotified.MEMBERSHIP_ENDED,
        title=f"You are no longer a member of {tenant.organization.name}",
        body="The e-mail of the account that let you in was verified only now. What the account gave before has ended, "
        "and so have the API keys that you made there. Ask for a new invitation.",
    )
