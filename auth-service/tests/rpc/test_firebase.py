"""Signing in with Firebase."""

from typing import Any

import grpc
import pytest
from adplatform.auth.v1 import api_keys_pb2, api_keys_pb2_grpc, organizations_pb2, organizations_pb2_grpc
from adplatform.auth.v1 import auth_pb2 as pb
from adplatform.options.v1.options_pb2 import Permission

from adtesting import eventually
from auth_service.accounts.firebase import FakeFirebase
from auth_service.accounts.model import FirebaseUser


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


def test_a_firebase_user_signs_up_once_and_signs_in(people: Any, refused: Any) -> None:
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
def test_a_token_that_proves_no_email_signs_nobody_up(people: Any, refused: Any, token: str) -> None:
    with refused() as refusal:
        people.sign_up(firebase_id_token=token)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")


def test_an_email_that_firebase_is_not_sure_of_opens_nobodys_account(people: Any, refused: Any) -> None:
    people.sign_up("ada@example.com")
    with refused() as refusal:
        log_in(people, "unverified")
    assert refusal.reason == "USER_NOT_FOUND"


def test_a_verified_account_is_linked_and_keeps_its_password(people: Any) -> None:
    signed = people.verified("ada@example.com")
    assert log_in(people, "ada").user.id == signed.user.id
    assert not people.is_out(signed.access_token)
    assert people.log_in("ada@example.com").user.id == signed.user.id


def test_whoever_took_an_account_for_anothers_email_loses_it_to_its_owner(people: Any, refused: Any) -> None:
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


def test_a_firebase_user_without_a_verified_email_keeps_no_account_of_its_owner(people: Any, refused: Any) -> None:
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


def test_api_keys_of_whoever_took_the_account_end_too(people: Any, unproven: Any, channel: grpc.Channel) -> None:
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
    unproven("ada@example.com")
    log_in(people, "ada")
    assert eventually(is_refused, within_s=1.5)


def test_either_way_to_sign_in_and_not_both(people: Any, refused: Any) -> None:
    with refused() as refusal:
        people.auth.LogIn(pb.LogInRequest(email="ada@example.com", password="x", firebase_id_token="ada"))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_firebase_user_of_the_old_email_signs_in_no_longer_once_it_was_changed(people: Any, refused: Any) -> None:
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
