"""Signing up by an invitation."""

from typing import Any

import grpc
import pytest
from adplatform.auth.v1 import organizations_pb2 as pb
from adplatform.auth.v1 import organizations_pb2_grpc


@pytest.fixture
def invited(people: Any, channel: grpc.Channel) -> str:
    """The token of an invitation of ada@example.com."""
    owner = people.verified(organization_name="Guild")
    metadata = people.bearer(owner.access_token, organization_id=owner.organization.id)
    organizations = organizations_pb2_grpc.OrganizationServiceStub(channel)
    organizations.InviteUser(pb.InviteUserRequest(email="ada@example.com", role="manager"), metadata=metadata)
    return people.token("ada@example.com", "accept-invitation")


def test_whoever_is_invited_signs_up_into_the_organization_and_is_verified(
    people: Any, refused: Any, invited: str
) -> None:
    with refused() as refusal:
        people.sign_up("eve@example.com", invitation_token=invited)
    assert refusal.reason == "INVITATION_FOR_ANOTHER"
    signed = people.sign_up("Ada@example.com", invitation_token=invited)
    assert signed.organization.name == "Guild"
    assert signed.user.email_verified
    (membership,) = people.profile(signed.access_token).memberships
    assert (membership.organization_name, membership.role) == ("Guild", "manager")
    assert people.subjects("ada@example.com") == []
    with refused() as refusal:
        people.sign_up("grace@example.com", invitation_token=invited)
    assert refusal.reason == "LINK_USED"


def test_a_made_up_invitation_signs_nobody_up(people: Any, refused: Any) -> None:
    with refused() as refusal:
        people.sign_up("ada@example.com", invitation_token="nonsense")
    assert refusal.reason == "LINK_INVALID"
    assert people.sign_up("ada@example.com").access_token


def test_an_invitation_does_not_say_who_has_signed_up(people: Any, refused: Any, invited: str) -> None:
    """With somebody else's e-mail it is refused first: the answer would tell, and no mail would."""
    people.sign_up("known@example.com")

    def reasons(token: str) -> set[str]:
        found = set()
        for email in ("known@example.com", "unknown@example.com"):
            with refused() as refusal:
                people.sign_up(email, invitation_token=token)
            found.add(refusal.reason)
        return found

    assert reasons("nonsense") == {"LINK_INVALID"}
    assert reasons(invited) == {"INVITATION_FOR_ANOTHER"}
    people.sign_up("ada@example.com", invitation_token=invited)
    assert reasons(invited) == {"LINK_USED"}


def test_whoever_reads_the_invitation_is_told_that_they_have_signed_up(people: Any, refused: Any, invited: str) -> None:
    people.sign_up("ada@example.com")
    with refused() as refusal:
        people.sign_up("ada@example.com", invitation_token=invited)
    assert refusal.reason == "EMAIL_TAKEN"
    assert people.log_in("ada@example.com").access_token
