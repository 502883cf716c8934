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


def test_invited_person_signs_up_as_verified_member(people: Any, refused: Any, invited: str) -> None:
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


def test_forged_invitation_cannot_sign_up(people: Any, refused: Any) -> None:
    with refused() as refusal:
        people.sign_up("ada@example.com", invitation_token="nonsense")
    assert refusal.reason == "LINK_INVALID"
    assert people.sign_up("ada@example.com").access_token


def test_invitation_does_not_reveal_registered_emails(people: Any, refused: Any, invited: str) -> None:
    """With another person's address the invitation is refused first: EMAIL_TAKEN would reveal the registration."""
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


def test_email_taken_is_revealed_to_invited_email_owner(people: Any, refused: Any, invited: str) -> None:
    people.sign_up("ada@example.com")
    with refused() as refusal:
        people.sign_up("ada@example.com", invitation_token=invited)
    assert refusal.reason == "EMAIL_TAKEN"
    assert people.log_in("ada@example.com").access_token
