"""Notifications about memberships."""

from uuid import UUID

from adplatform.events.v1.events_pb2 import UserNotified

from auth_service.tenancy.model import Tenant


def ownership_transferred(tenant: Tenant, user_id: UUID) -> UserNotified:
    """The owner made the user the owner."""
    return _ownership(tenant, user_id, "Its owner has handed it over to you.")


def ownership_inherited(tenant: Tenant, user_id: UUID) -> UserNotified:
    """The owner left or was assigned another role, which made the user the owner."""
    return _ownership(tenant, user_id, "The former owner has another role now, or has left.")


def role_changed(tenant: Tenant, user_id: UUID, role_name: str) -> UserNotified:
    """Another member changed the user's role."""
    return UserNotified(
        user_id=str(user_id),
        kind=UserNotified.ROLE_CHANGED,
        title=f"Your role in {tenant.organization.name} is now {role_name}",
        body="Your permissions there have changed with it. If that is wrong, ask the organization's owner.",
    )


def member_removed(tenant: Tenant, user_id: UUID) -> UserNotified:
    """Another member removed the user."""
    return _membership_ended(tenant, user_id, "Somebody removed you, and revoked the API keys you made there.")


def membership_reclaimed(tenant: Tenant, user_id: UUID) -> UserNotified:
    """The account that had granted the membership was reclaimed by the owner of its e-mail address."""
    return _membership_ended(
        tenant,
        user_id,
        "The e-mail of the account that let you in was verified only now. The memberships that it gave before have "
        "ended, and so have the API keys that you made there. Ask for a new invitation.",
    )


def _ownership(tenant: Tenant, user_id: UUID, body: str) -> UserNotified:
    title = f"You are now the owner of {tenant.organization.name}"
    return UserNotified(user_id=str(user_id), kind=UserNotified.OWNERSHIP_RECEIVED, title=title, body=body)


def _membership_ended(tenant: Tenant, user_id: UUID, body: str) -> UserNotified:
    title = f"You are no longer a member of {tenant.organization.name}"
    return UserNotified(user_id=str(user_id), kind=UserNotified.MEMBERSHIP_ENDED, title=title, body=body)
