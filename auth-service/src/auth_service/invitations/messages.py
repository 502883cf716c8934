"""Notifications about invitations."""

from adplatform.events.v1.events_pb2 import UserNotified

from auth_service.authorization.model import Role
from auth_service.invitations.model import Invitation
from auth_service.tenancy.model import Tenant


def invitation_accepted(invitation: Invitation, tenant: Tenant, role: Role) -> UserNotified:
    """An invitation that the user is responsible for was accepted."""
    return UserNotified(
        user_id=str(invitation.invited_by),
        kind=UserNotified.INVITATION_ACCEPTED,
        title=f"{invitation.email} has joined {tenant.organization.name}",
        body=f"They accepted your invitation and have the role {role.name}.",
    )
