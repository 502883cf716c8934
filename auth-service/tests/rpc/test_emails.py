"""Verifying and changing an e-mail address."""

from typing import Any

import grpc
import pytest
from adplatform.auth.v1 import auth_pb2 as pb

from adtesting import eventually


def change(people: Any, access_token: str, new: str, password: str = "correct horse battery") -> None:
    request = pb.ChangeEmailRequest(new_email=new, password=password)
    people.auth.ChangeEmail(request, metadata=people.bearer(access_token))


def test_sign_up_link_verifies_email_once(people: Any, refused: Any) -> None:
    signed = people.sign_up("  Ada@Example.com".strip())
    assert (signed.user.email, signed.user.email_verified) == ("ada@example.com", False)
    token = people.token("ada@example.com", "verify-email")
    own = people.bearer(signed.access_token)
    assert people.auth.VerifyEmail(pb.VerifyEmailRequest(token=token), metadata=own).user.email_verified
    assert people.profile(signed.access_token).user.email_verified
    with refused() as refusal:
        people.auth.VerifyEmail(pb.VerifyEmailRequest(token=token))
    assert refusal.reason == "LINK_USED"
    people.auth.SendEmailVerification(pb.SendEmailVerificationRequest(), metadata=own)


def test_newer_link_voids_older_one_and_mail_is_rate_limited(people: Any, refused: Any) -> None:
    signed = people.sign_up("ada@example.com")
    older = people.token("ada@example.com", "verify-email")
    metadata = people.bearer(signed.access_token)
    people.auth.SendEmailVerification(pb.SendEmailVerificationRequest(), metadata=metadata)
    newer = people.token("ada@example.com", "verify-email")
    with refused() as refusal:
        people.auth.VerifyEmail(pb.VerifyEmailRequest(token=older))
    assert refusal.reason == "LINK_USED"
    for _ in range(4):
        people.auth.SendEmailVerification(pb.SendEmailVerificationRequest(), metadata=metadata)
    with refused() as refusal:
        people.auth.SendEmailVerification(pb.SendEmailVerificationRequest(), metadata=metadata)
    assert refusal.reason == "TOO_MANY_ATTEMPTS"
    assert newer != older


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "eyJhbGciOiJub25lIn0.e30."])
@pytest.mark.parametrize("method", ["VerifyEmail", "ConfirmEmailChange"])
def test_forged_link_is_refused(people: Any, refused: Any, method: str, token: str) -> None:
    with refused() as refusal:
        getattr(people.auth, method)(getattr(pb, f"{method}Request")(token=token))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "LINK_INVALID")


def test_link_and_access_token_are_not_interchangeable(people: Any, refused: Any) -> None:
    signed = people.sign_up("ada@example.com")
    link = people.token("ada@example.com", "verify-email")
    for token in (link, signed.access_token):
        with refused() as refusal:
            people.auth.ResetPassword(pb.ResetPasswordRequest(token=token, password="staple of nine violets"))
        assert refusal.reason == "LINK_INVALID"
    assert people.is_out(link)


def test_email_change_requires_link_to_new_address_and_notifies_old_one(people: Any, refused: Any) -> None:
    signed = people.sign_up("ada@example.com")
    with refused() as refusal:
        change(people, signed.access_token, "lovelace@example.com", "wrong horse")
    assert refusal.reason == "CREDENTIALS_INVALID"
    people.auth.ForgotPassword(pb.ForgotPasswordRequest(email="ada@example.com"))
    reset = people.token("ada@example.com", "reset-password")
    change(people, signed.access_token, "Lovelace@Example.com")
    token = people.token("lovelace@example.com", "confirm-email")
    assert people.profile(signed.access_token).user.email == "ada@example.com"
    own = people.bearer(signed.access_token)
    user = people.auth.ConfirmEmailChange(pb.ConfirmEmailChangeRequest(token=token), metadata=own).user
    assert (user.email, user.email_verified) == ("lovelace@example.com", True)
    assert people.log_in("lovelace@example.com").user.id == signed.user.id
    notes = {"Your e-mail is about to be changed", "Your e-mail was changed"}
    assert eventually(lambda: notes <= set(people.subjects("ada@example.com")))
    # A link to the old address is void.
    with refused() as refusal:
        people.auth.ResetPassword(pb.ResetPasswordRequest(token=reset, password="staple of nine violets"))
    assert refusal.reason == "LINK_USED"


def test_email_taken_is_revealed_only_to_the_email_owner(people: Any, refused: Any) -> None:
    people.sign_up("grace@example.com")
    signed = people.sign_up("ada@example.com")
    change(people, signed.access_token, "grace@example.com")
    token = people.token("grace@example.com", "confirm-email")
    for _ in range(2):
        with refused() as refusal:
            people.auth.ConfirmEmailChange(pb.ConfirmEmailChangeRequest(token=token))
        assert refusal.reason == "EMAIL_TAKEN"


def test_new_password_voids_requested_email_change(people: Any, refused: Any) -> None:
    signed = people.sign_up("ada@example.com")
    change(people, signed.access_token, "eve@example.com")
    token = people.token("eve@example.com", "confirm-email")
    request = pb.ChangePasswordRequest(current_password="correct horse battery", new_password="staple of nine violets")
    people.auth.ChangePassword(request, metadata=people.bearer(signed.access_token))
    with refused() as refusal:
        people.auth.ConfirmEmailChange(pb.ConfirmEmailChangeRequest(token=token))
    assert refusal.reason == "LINK_USED"


def test_name_is_changed(people: Any) -> None:
    signed = people.sign_up()
    request = pb.UpdateProfileRequest(name="Augusta")
    profile = people.auth.UpdateProfile(request, metadata=people.bearer(signed.access_token))
    assert (profile.user.name, len(profile.memberships)) == ("Augusta", 1)
    assert people.profile(signed.access_token).user.name == "Augusta"


def test_email_change_ends_all_sessions_but_the_confirming_one(people: Any) -> None:
    other = people.verified("ada@example.com")
    this = people.log_in("ada@example.com")
    change(people, this.access_token, "lovelace@example.com")
    request = pb.ConfirmEmailChangeRequest(token=people.token("lovelace@example.com", "confirm-email"))
    answer = people.auth.ConfirmEmailChange(request, metadata=people.bearer(this.access_token))
    assert (answer.user.email, answer.password_reset_token) == ("lovelace@example.com", "")
    assert eventually(lambda: people.is_out(other.access_token), within_s=1.0)
    assert not people.is_out(this.access_token)
    assert people.log_in("lovelace@example.com").access_token
