"""An owner with an unverified e-mail address cannot create anything that outlives their first session."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.auth.v1 import api_keys_pb2 as keys_pb
from adplatform.auth.v1 import organizations_pb2 as pb
from adplatform.options.v1.options_pb2 import Permission

Metadata = list[tuple[str, str]]
Act = Callable[[Any, UUID, str, Metadata], object]

ACTS: dict[str, Act] = {
    "CreateApiKey": lambda stubs, _organization, _member, metadata: stubs.keys.CreateApiKey(
        keys_pb.CreateApiKeyRequest(name="door", permissions=[Permission.USERS_READ]), metadata=metadata
    ),
    "InviteUser": lambda stubs, _organization, _member, metadata: stubs.organizations.InviteUser(
        pb.InviteUserRequest(email=f"{uuid4().hex}@example.com", role="owner"), metadata=metadata
    ),
    "ResendInvitation": lambda stubs, _organization, member, metadata: stubs.organizations.ResendInvitation(
        pb.ResendInvitationRequest(user_id=member), metadata=metadata
    ),
    "UpdateUser": lambda stubs, _organization, member, metadata: stubs.organizations.UpdateUser(
        pb.UpdateUserRequest(user_id=member, role="owner"), metadata=metadata
    ),
    "TransferOwnership": lambda stubs, organization, member, metadata: stubs.organizations.TransferOwnership(
        pb.TransferOwnershipRequest(organization_id=str(organization), user_id=member), metadata=metadata
    ),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_unverified_owner_cannot_grant_access(env: Any, stubs: Any, refused: Any, act: Act) -> None:
    owner = env.add_user(email_verified=False)
    organization = env.add_organization(owner)
    member = env.add_member(organization, "member")
    with refused() as refusal:
        act(stubs, organization, str(member.id), env.by(owner, organization))
    assert (refusal.code, refusal.info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "EMAIL_NOT_VERIFIED")


def test_unverified_owner_can_remove_members(env: Any, stubs: Any) -> None:
    owner = env.add_user(email_verified=False)
    organization = env.add_organization(owner)
    member = env.add_member(organization, "member")
    request = pb.RemoveUserRequest(user_id=str(member.id))
    stubs.organizations.RemoveUser(request, metadata=env.by(owner, organization))
    assert env.permissions(member, organization) == set()
