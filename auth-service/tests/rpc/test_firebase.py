"""Signing in with Firebase."""

from typing import Any

import grpc
import pytest
from adplatform.auth.v1 import api_keys_pb2, api_keys_pb2_grpc, organizations_pb2, organizations_pb2_grpc
from adplatform.auth.v1 import auth_pb2 as pb
from adplatform.options.v1.options_pb2 import Permission

from adtesting import eventually
from adtesting.auth import FakeFirebase
from auth_service.credentials.firebase.model import FirebaseUser


@pytest.fixture
def firebase() -> FakeFirebase:
    return FakeFirebase(
        {
            "ada": FirebaseUser("uid-ada", "ada@example.com", email_verified=True),
            "unverified": FirebaseUser("uid-unverified", "ada@example.com", email_verified=False),
            "nameless": FirebaseUser("uid-nameless", "", email_verified=False),
        }
    )


def log_in(people: Any, token: str) -> pb.LogInResponse:
    return people.auth.LogIn(pb.LogInRequest(firebase_id_token=token))


def test_firebase_user_signs_up_once_and_signs_in(people: Any, refused: Any) -> None:
    with refused() as refusal:
        log_in(people, "ada")
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")
    signed = people.sign_up(firebase_id_token="ada")
    assert (signed.user.email, signed.user.email_verified) == ("ada@example.com", True)
    assert log_in(people, "ada").user.id == signed.user.id
    with refused() as refusal:
        people.sign_up(firebase_id_token="ada")
    assert refusal.reason == "EMAIL_TAKEN"
    with refused() as refusal:
        people.log_in("ada@example.com", "")
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("token", ["forged", "nameless"])
def test_token_without_email_cannot_sign_up(people: Any, refused: Any, token: str) -> None:
    with refused() as refusal:
        people.sign_up(firebase_id_token=token)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")


def test_email_unverified_by_firebase_is_not_linked(people: Any, refused: Any) -> None:
    people.sign_up("ada@example.com")
    with refused() as refusal:
        log_in(people, "unverified")
    assert refusal.reason == "USER_NOT_FOUND"


def test_verified_account_is_linked_to_firebase_and_keeps_password(people: Any) -> None:
    signed = people.verified("ada@example.com")
    assert log_in(people, "ada").user.id == signed.user.id
    assert not people.is_out(signed.access_token)
    assert people.log_in("ada@example.com").user.id == signed.user.id


def test_firebase_sign_in_reclaims_unverified_account(people: Any, refused: Any) -> None:
    eve = people.sign_up("ada@example.com")
    people.auth.ForgotPassword(pb.ForgotPasswordRequest(email="ada@example.com"))
    reset = people.token("ada@example.com", "reset-password")
    owner = log_in(people, "ada")
    assert (owner.user.id, owner.user.email_verified) == (eve.user.id, True)
    assert eventually(lambda: people.is_out(eve.access_token), within_s=1.0)
    with refused() as refusal:
        people.log_in("ada@example.com")
    assert refusal.reason == "CREDENTIALS_INVALID"
    with refused() as refusal:
        people.auth.ResetPassword(pb.ResetPasswordRequest(token=reset, password="staple of nine violets"))
    assert refusal.reason == "LINK_USED"


def test_unverified_firebase_account_is_reclaimed_by_email_owner(people: Any, refused: Any) -> None:
    eve = people.sign_up(firebase_id_token="unverified")
    assert not eve.user.email_verified
    people.auth.ForgotPassword(pb.ForgotPasswordRequest(email="ada@example.com"))
    token = people.token("ada@example.com", "reset-password")
    people.auth.ResetPassword(pb.ResetPasswordRequest(token=token, password="staple of nine violets"))
    assert people.log_in("ada@example.com", "staple of nine violets").user.email_verified
    assert eventually(lambda: people.is_out(eve.access_token), within_s=1.0)
    with refused() as refusal:
        log_in(people, "unverified")
    assert refusal.reason == "USER_NOT_FOUND"


def test_reclaim_by_firebase_revokes_api_keys(people: Any, unverify: Any, channel: grpc.Channel) -> None:
    eve = people.verified("ada@example.com")
    keys = api_keys_pb2_grpc.ApiKeyServiceStub(channel)
    metadata = people.bearer(eve.access_token, organization_id=eve.organization.id)
    request = api_keys_pb2.CreateApiKeyRequest(name="door", permissions=[Permission.USERS_READ])
    key = [("x-api-key", keys.CreateApiKey(request, metadata=metadata).secret)]
    organizations = organizations_pb2_grpc.OrganizationServiceStub(channel)

    def is_refused() -> bool:
        try:
            organizations.ListUsers(organizations_pb2.ListUsersRequest(), metadata=key)
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.UNAUTHENTICATED
        return False

    assert not is_refused()
    unverify("ada@example.com")
    log_in(people, "ada")
    assert eventually(is_refused, within_s=1.5)


def test_sign_in_takes_password_or_firebase_token_but_not_both(people: Any, refused: Any) -> None:
    with refused() as refusal:
        people.auth.LogIn(pb.LogInRequest(email="ada@example.com", password="x", firebase_id_token="ada"))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT


def test_firebase_user_of_old_email_cannot_sign_in_after_email_change(people: Any, refused: Any) -> None:
    signed = people.verified("ada@example.com")
    log_in(people, "ada")
    people.auth.ChangeEmail(
        pb.ChangeEmailRequest(new_email="lovelace@example.com", password="correct horse battery"),
        metadata=people.bearer(signed.access_token),
    )
    token = people.token("lovelace@example.com", "confirm-email")
    people.auth.ConfirmEmailChange(pb.ConfirmEmailChangeRequest(token=token))
    with refused() as refusal:
        log_in(people, "ada")
    assert refusal.reason == "USER_NOT_FOUND"
