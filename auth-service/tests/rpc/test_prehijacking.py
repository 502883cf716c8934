"""Account pre-hijacking: an account for another person's address is reclaimed once its owner verifies it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from adplatform.auth.v1 import api_keys_pb2, api_keys_pb2_grpc, organizations_pb2, organizations_pb2_grpc
from adplatform.auth.v1 import auth_pb2 as pb
from adplatform.options.v1.options_pb2 import Permission

from adtesting import eventually
from adtesting.auth import FakeFirebase
from auth_service.credentials.firebase.model import FirebaseUser

VICTIM, ACCOMPLICE = "victim@example.com", "accomplice@example.com"
NEW_PASSWORD = "staple of nine violets"


@pytest.fixture
def firebase() -> FakeFirebase:
    return FakeFirebase({"victim": FirebaseUser("uid-victim", VICTIM, email_verified=True)})


class Office:
    """Keys and members, called with the given metadata."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.keys = api_keys_pb2_grpc.ApiKeyServiceStub(channel)
        self.organizations = organizations_pb2_grpc.OrganizationServiceStub(channel)

    def key(self, metadata: Any) -> list[tuple[str, str]]:
        request = api_keys_pb2.CreateApiKeyRequest(name="door", permissions=[Permission.USERS_READ])
        return [("x-api-key", self.keys.CreateApiKey(request, metadata=metadata).secret)]

    def invite(self, metadata: Any, email: str, role: str = "owner") -> organizations_pb2.Member:
        request = organizations_pb2.InviteUserRequest(email=email, role=role)
        return self.organizations.InviteUser(request, metadata=metadata)

    def members(self, metadata: Any) -> dict[str, str]:
        found = self.organizations.ListUsers(organizations_pb2.ListUsersRequest(), metadata=metadata).users
        return {member.email: member.role for member in found}

    def refuses(self, metadata: Any) -> bool:
        try:
            self.members(metadata)
        except grpc.RpcError as error:
            return error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
        return False


@pytest.fixture
def office(channel: grpc.Channel) -> Office:
    return Office(channel)


@dataclass
class Hijack:
    """An account of an earlier release for the victim's e-mail, with a key, a second owner and an open invitation."""

    signed: pb.SignUpResponse
    accomplice: pb.SignUpResponse
    ways_in: dict[str, Any]
    invitation: str


@pytest.fixture
def hijack(people: Any, office: Office, unverify: Callable[[str], None]) -> Hijack:
    eve = people.verified(VICTIM)
    own = people.bearer(eve.access_token, organization_id=eve.organization.id)
    office.invite(own, ACCOMPLICE)
    token = people.token(ACCOMPLICE, "accept-invitation")
    accomplice = people.sign_up(ACCOMPLICE, invitation_token=token)
    office.invite(own, "later@example.com")
    theirs = people.bearer(accomplice.access_token, organization_id=eve.organization.id)
    ways_in = {"session": own, "key": office.key(own), "second owner": theirs, "their key": office.key(theirs)}
    invitation = people.token("later@example.com", "accept-invitation")
    unverify(VICTIM)
    return Hijack(eve, accomplice, ways_in, invitation)


def by_the_link(people: Any) -> str:
    """The victim opens the link in a mail that they did not request, and sets a password by the returned token."""
    link = people.token(VICTIM, "verify-email")
    answer = people.auth.VerifyEmail(pb.VerifyEmailRequest(token=link))
    assert answer.user.email_verified
    people.auth.ResetPassword(pb.ResetPasswordRequest(token=answer.password_reset_token, password=NEW_PASSWORD))
    return str(people.log_in(VICTIM, NEW_PASSWORD).access_token)


def by_a_reset(people: Any) -> str:
    people.auth.ForgotPassword(pb.ForgotPasswordRequest(email=VICTIM))
    token = people.token(VICTIM, "reset-password")
    people.auth.ResetPassword(pb.ResetPasswordRequest(token=token, password=NEW_PASSWORD))
    return str(people.log_in(VICTIM, NEW_PASSWORD).access_token)


def by_firebase(people: Any) -> str:
    return str(people.auth.LogIn(pb.LogInRequest(firebase_id_token="victim")).access_token)


@pytest.mark.parametrize("prove", [by_the_link, by_a_reset, by_firebase])
def test_verification_without_session_revokes_every_credential(
    people: Any, refused: Any, office: Office, hijack: Hijack, prove: Callable[[Any], str]
) -> None:
    assert [name for name, metadata in hijack.ways_in.items() if office.refuses(metadata)] == []
    if prove is by_the_link:
        people.auth.SendEmailVerification(
            pb.SendEmailVerificationRequest(), metadata=people.bearer(hijack.signed.access_token)
        )
    victim = prove(people)
    assert eventually(lambda: all(map(office.refuses, hijack.ways_in.values())), within_s=1.0)
    with refused() as refusal:
        people.log_in(VICTIM)
    assert refusal.reason == "CREDENTIALS_INVALID"
    with refused() as refusal:
        people.sign_up("later@example.com", invitation_token=hijack.invitation)
    assert refusal.reason in ("LINK_USED", "LINK_INVALID")
    own = people.bearer(victim, organization_id=hijack.signed.organization.id)
    assert office.members(own) == {VICTIM: "owner"}
    assert office.key(own)
    assert people.profile(hijack.accomplice.access_token).memberships == []


def test_transferred_organization_is_left_on_reclaim(
    people: Any, office: Office, hijack: Hijack, unverify: Callable[[str], None]
) -> None:
    """The second owner keeps the organization; the victim must not deposit into it."""
    organization_id = hijack.signed.organization.id
    owner = people.bearer(hijack.accomplice.access_token, organization_id=organization_id)
    request = organizations_pb2.UpdateUserRequest(user_id=hijack.signed.user.id, role="manager")
    transfer = organizations_pb2.TransferOwnershipRequest(
        organization_id=organization_id, user_id=hijack.accomplice.user.id
    )
    people.auth.SendEmailVerification(
        pb.SendEmailVerificationRequest(), metadata=people.bearer(hijack.signed.access_token)
    )
    people.verify(VICTIM, hijack.signed.access_token)
    eventually(lambda: office.organizations.TransferOwnership(transfer, metadata=hijack.ways_in["session"]))
    office.organizations.UpdateUser(request, metadata=owner)
    unverify(VICTIM)
    victim = by_a_reset(people)
    assert people.profile(victim).memberships == []
    assert office.members(owner)[ACCOMPLICE] == "owner"


def test_membership_accepted_by_invitation_survives_reclaim(
    people: Any, office: Office, unverify: Callable[[str], None]
) -> None:
    boss = people.verified("boss@example.com")
    metadata = people.bearer(boss.access_token, organization_id=boss.organization.id)
    office.invite(metadata, VICTIM, "manager")
    people.sign_up(VICTIM, invitation_token=people.token(VICTIM, "accept-invitation"))
    unverify(VICTIM)
    victim = by_a_reset(people)
    assert [one.role for one in people.profile(victim).memberships] == ["manager"]
    assert office.members(metadata) == {"boss@example.com": "owner", VICTIM: "manager"}


def test_link_opened_in_sign_up_session_keeps_the_account(people: Any, office: Office) -> None:
    signed, other = people.sign_up("ada@example.com"), people.log_in("ada@example.com")
    answer = people.verify("ada@example.com", signed.access_token)
    assert (answer.user.email_verified, answer.password_reset_token) == (True, "")
    assert eventually(lambda: people.is_out(other.access_token), within_s=1.0)
    own = people.bearer(signed.access_token, organization_id=signed.organization.id)
    assert eventually(lambda: office.key(own), within_s=1.0)
    assert people.log_in("ada@example.com").user.email_verified
    refreshed = people.auth.RefreshToken(pb.RefreshTokenRequest(refresh_token=signed.refresh_token))
    assert not people.is_out(refreshed.access_token)


def test_session_of_another_account_does_not_preserve_credentials(people: Any) -> None:
    hijacker, victim = people.sign_up(VICTIM), people.verified("private@example.com")
    answer = people.verify(VICTIM, victim.access_token)
    assert answer.password_reset_token
    assert eventually(lambda: people.is_out(hijacker.access_token), within_s=1.0)
    assert not people.is_out(victim.access_token)


def test_ended_session_cannot_verify_email_and_does_not_redeem_link(people: Any, refused: Any) -> None:
    signed = people.sign_up("ada@example.com")
    token = people.token("ada@example.com", "verify-email")
    people.auth.LogOut(pb.LogOutRequest(), metadata=people.bearer(signed.access_token))
    assert eventually(lambda: people.is_out(signed.access_token), within_s=1.0)
    request = pb.VerifyEmailRequest(token=token)
    for bad in (signed.access_token, "a.b.c"):
        with refused() as refusal:
            people.auth.VerifyEmail(request, metadata=people.bearer(bad))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    again = people.log_in("ada@example.com")
    assert people.auth.VerifyEmail(request, metadata=people.bearer(again.access_token)).user.email_verified
    assert people.log_in("ada@example.com").access_token


def change_email(people: Any, access_token: str, new: str) -> str:
    request = pb.ChangeEmailRequest(new_email=new, password="correct horse battery")
    people.auth.ChangeEmail(request, metadata=people.bearer(access_token))
    return str(people.token(new, "confirm-email"))


def test_email_change_without_session_is_refused_for_shared_organizations(
    people: Any, refused: Any, office: Office
) -> None:
    eve = people.verified("eve@example.com")
    own = people.bearer(eve.access_token, organization_id=eve.organization.id)
    office.invite(own, ACCOMPLICE)
    token = change_email(people, eve.access_token, VICTIM)
    request = pb.ConfirmEmailChangeRequest(token=token)
    with refused() as refusal:
        people.auth.ConfirmEmailChange(request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SESSION_REQUIRED")
    assert people.profile(eve.access_token).user.email == "eve@example.com"
    assert people.auth.ConfirmEmailChange(request, metadata=people.bearer(eve.access_token)).user.email == VICTIM
    assert office.members(own)[VICTIM] == "owner"


@pytest.mark.parametrize("is_verified", [True, False])
def test_email_change_without_session_revokes_every_credential(people: Any, refused: Any, is_verified: bool) -> None:
    eve = people.verified("eve@example.com") if is_verified else people.sign_up("eve@example.com")
    token = change_email(people, eve.access_token, VICTIM)
    answer = people.auth.ConfirmEmailChange(pb.ConfirmEmailChangeRequest(token=token))
    assert (answer.user.email, answer.user.email_verified) == (VICTIM, True)
    assert eventually(lambda: people.is_out(eve.access_token), within_s=1.0)
    for email in (VICTIM, "eve@example.com"):
        with refused() as refusal:
            people.log_in(email)
        assert refusal.reason == "CREDENTIALS_INVALID"
    people.auth.ResetPassword(pb.ResetPasswordRequest(token=answer.password_reset_token, password=NEW_PASSWORD))
    assert people.log_in(VICTIM, NEW_PASSWORD).user.email_verified


def test_accepting_invitation_verifies_email(people: Any, office: Office) -> None:
    boss = people.verified("boss@example.com")
    office.invite(people.bearer(boss.access_token, organization_id=boss.organization.id), "ada@example.com")
    ada, other = people.sign_up("ada@example.com"), people.log_in("ada@example.com")
    request = organizations_pb2.AcceptInvitationRequest(token=people.token("ada@example.com", "accept-invitation"))
    office.organizations.AcceptInvitation(request, metadata=people.bearer(ada.access_token))
    assert people.profile(ada.access_token).user.email_verified
    assert eventually(lambda: people.is_out(other.access_token), within_s=1.0)
    own = people.bearer(ada.access_token, organization_id=ada.organization.id)
    assert eventually(lambda: office.key(own), within_s=1.0)


def test_password_reset_revokes_and_names_api_keys(people: Any, office: Office) -> None:
    boss = people.verified("boss@example.com")
    own = people.bearer(boss.access_token, organization_id=boss.organization.id)
    office.invite(own, "ada@example.com")
    ada = people.sign_up("ada@example.com", invitation_token=people.token("ada@example.com", "accept-invitation"))
    theirs = office.key(people.bearer(ada.access_token, organization_id=boss.organization.id))
    key = office.key(own)
    people.auth.ForgotPassword(pb.ForgotPasswordRequest(email="boss@example.com"))
    token = people.token("boss@example.com", "reset-password")
    people.auth.ResetPassword(pb.ResetPasswordRequest(token=token, password=NEW_PASSWORD))
    assert eventually(lambda: office.refuses(key), within_s=1.0)
    assert not office.refuses(theirs)
    assert eventually(lambda: "Your API keys were revoked" in people.subjects("boss@example.com"))
    (mail,) = [mail for mail in people.mails("boss@example.com") if "keys were revoked" in mail.subject]
    assert "door" in mail.text
    signed = people.log_in("boss@example.com", NEW_PASSWORD).access_token
    own = people.bearer(signed, organization_id=boss.organization.id)
    assert set(office.members(own)) == {"boss@example.com", "ada@example.com"}


def test_password_change_keeps_api_keys(people: Any, office: Office) -> None:
    signed = people.verified("ada@example.com")
    own = people.bearer(signed.access_token, organization_id=signed.organization.id)
    key = office.key(own)
    request = pb.ChangePasswordRequest(current_password="correct horse battery", new_password=NEW_PASSWORD)
    people.auth.ChangePassword(request, metadata=own)
    assert not office.refuses(key)
