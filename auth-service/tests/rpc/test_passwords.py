"""Weak, reset, guessed and changed passwords."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import uuid4

import grpc
import pytest
from adplatform.auth.v1 import auth_pb2 as pb
from adplatform.auth.v1 import auth_pb2_grpc

from adlib.clock import SystemClock
from adlib.service import connect_redis
from adtesting import eventually, running, stub_channel
from auth_service.__main__ import from_config
from auth_service.config import Config
from auth_service.rate_limits.service import AttemptLimiter

PASSWORD, ANOTHER = "correct horse battery", "staple of nine violets"


@pytest.mark.parametrize("password", ["password1", "ada@example.com", "Zanzibar Trading", "aaaaaaaaaaaa"])
def test_weak_password_is_refused_with_advice(people: Any, refused: Any, password: str) -> None:
    with refused() as refusal:
        people.sign_up("ada@example.com", password=password, organization_name="Zanzibar Trading")
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PASSWORD_WEAK")
    assert refusal.violations["password"]


@pytest.mark.parametrize("email", ["nonsense", "a@", "@b.example", "a b@c.example", "x" * 250 + "@c.example"])
def test_malformed_email_is_refused(people: Any, refused: Any, email: str) -> None:
    with refused() as refusal:
        people.sign_up(email)
    assert (refusal.reason, list(refusal.violations)) == ("INVALID_FIELD", ["email"])


def test_guessing_is_rate_limited_and_password_reset_lifts_the_limit(people: Any, refused: Any) -> None:
    signed = people.sign_up("ada@example.com")
    for _ in range(10):
        with refused() as refusal:
            people.log_in("ada@example.com", "wrong horse")
        assert refusal.reason == "CREDENTIALS_INVALID"
    for password in ("wrong horse", "correct horse battery"):
        with refused() as refusal:
            people.log_in("Ada@Example.com", password)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_ATTEMPTS")
        assert 0 < refusal.wait_s <= 1
    with refused() as refusal:
        people.auth.ChangePassword(
            pb.ChangePasswordRequest(current_password="correct horse battery", new_password=ANOTHER),
            metadata=people.bearer(signed.access_token),
        )
    assert refusal.reason == "TOO_MANY_ATTEMPTS"

    people.auth.ForgotPassword(pb.ForgotPasswordRequest(email="ada@example.com"))
    token = people.token("ada@example.com", "reset-password")
    people.auth.ResetPassword(pb.ResetPasswordRequest(token=token, password=ANOTHER))
    assert people.log_in("ada@example.com", ANOTHER).user.email_verified
    assert eventually(lambda: people.is_out(signed.access_token), within_s=1.0)


def test_concurrent_right_passwords_all_sign_in(busy: Any) -> None:
    busy.sign_up("ada@example.com")
    with ThreadPoolExecutor(40) as threads:
        answers = list(threads.map(lambda _: busy.log_in("ada@example.com", address="192.0.2.7"), range(40)))
    assert not any(busy.is_out(answer.access_token) for answer in answers)


def test_concurrent_wrong_passwords_are_limited_like_sequential_ones(busy: Any, refused: Any) -> None:
    busy.sign_up("ada@example.com")

    def guess(_: int) -> str:
        with refused() as refusal:
            busy.log_in("ada@example.com", "wrong horse")
        return str(refusal.reason)

    with ThreadPoolExecutor(40) as threads:
        reasons = list(threads.map(guess, range(40)))
    assert reasons.count("TOO_MANY_ATTEMPTS") == 30
    assert reasons.count("CREDENTIALS_INVALID") == 10


def test_outage_does_not_count_as_failed_attempt(busy: Any, refused: Any, config: Config, redis_url: str) -> None:
    signed = busy.sign_up("ada@example.com")
    change = pb.ChangePasswordRequest(current_password="correct horse battery", new_password=ANOTHER)
    without_database = replace(config, database_url="postgresql://nobody:nothing@127.0.0.1:1/auth")
    with running(from_config(without_database)) as server, stub_channel(server) as channel:
        stub = auth_pb2_grpc.AuthServiceStub(channel)
        forgot = pb.ForgotPasswordRequest(email="ada@example.com")
        new = pb.SignUpRequest(email="b@example.com", password=PASSWORD, name="Bob", organization_name="Acme")
        calls: list[Callable[[], object]] = [
            *[lambda: stub.LogIn(pb.LogInRequest(email="ada@example.com", password=PASSWORD))] * 12,
            *[lambda: stub.ForgotPassword(forgot)] * 5,
            lambda: stub.SignUp(new, metadata=[("x-forwarded-for", "192.0.2.7")]),
        ]

        def during_outage(call: Callable[[], object]) -> grpc.StatusCode:
            with refused() as refusal:
                call()
            return refusal.code

        with ThreadPoolExecutor(len(calls)) as threads:
            assert set(threads.map(during_outage, calls)) == {grpc.StatusCode.UNAVAILABLE}
            assert set(threads.map(during_outage, calls)) == {grpc.StatusCode.UNAVAILABLE}
    with connect_redis(redis_url) as shared:
        counted = {int(shared.hget(key, "n") or 0) for key in shared.scan_iter("attempts:sign-up:*")}
        assert counted == {0}
    for _ in range(10):
        with refused() as refusal:
            busy.log_in("ada@example.com", "wrong horse")
        assert refusal.reason == "CREDENTIALS_INVALID"
    with refused() as refusal:
        busy.auth.ChangePassword(change, metadata=busy.bearer(signed.access_token))
    assert refusal.reason == "TOO_MANY_ATTEMPTS"
    for _ in range(5):
        busy.auth.ForgotPassword(pb.ForgotPasswordRequest(email="ada@example.com"))


def test_ten_weak_passwords_void_a_reset_link(busy: Any, refused: Any) -> None:
    busy.sign_up("ada@example.com")

    def reset(token: str, password: str) -> str:
        with refused() as refusal:
            busy.auth.ResetPassword(pb.ResetPasswordRequest(token=token, password=password))
        return str(refusal.reason)

    busy.auth.ForgotPassword(pb.ForgotPasswordRequest(email="ada@example.com"))
    token = busy.token("ada@example.com", "reset-password")
    with ThreadPoolExecutor(15) as threads:
        reasons = list(threads.map(lambda _: reset(token, "password1"), range(15)))
    assert (reasons.count("PASSWORD_WEAK"), reasons.count("LINK_USED")) == (10, 5)
    assert reset(token, ANOTHER) == "LINK_USED"
    # Nine weak passwords do not void the link.
    busy.auth.ForgotPassword(pb.ForgotPasswordRequest(email="ada@example.com"))
    token = busy.token("ada@example.com", "reset-password")
    assert [reset(token, "password1") for _ in range(9)] == ["PASSWORD_WEAK"] * 9
    busy.auth.ResetPassword(pb.ResetPasswordRequest(token=token, password=ANOTHER))
    assert busy.log_in("ada@example.com", ANOTHER).access_token


def test_sign_ups_from_one_address_are_limited(people: Any, refused: Any, redis_url: str) -> None:
    def sign_up(address: str) -> str:
        request = pb.SignUpRequest(email="ada@example.com", password="password", name="Ada", organization_name="Acme")
        with refused() as refusal:
            people.auth.SignUp(request, metadata=[("x-forwarded-for", address)])
        return str(refusal.reason)

    with connect_redis(redis_url) as shared:
        attempts = AttemptLimiter(shared, SystemClock())
        for _ in range(999):
            attempts.count_sign_up("192.0.2.1")
    assert sign_up("192.0.2.1") == "PASSWORD_WEAK"
    assert sign_up("192.0.2.1") == "TOO_MANY_ATTEMPTS"
    assert sign_up("192.0.2.2") == "PASSWORD_WEAK"


def test_password_reset_request_does_not_reveal_registered_emails(people: Any, refused: Any) -> None:
    people.sign_up("ada@example.com")
    for email in ("ada@example.com", "nobody@example.com"):
        for _ in range(5):
            assert people.auth.ForgotPassword(pb.ForgotPasswordRequest(email=email)) == pb.ForgotPasswordResponse()
        with refused() as refusal:
            people.auth.ForgotPassword(pb.ForgotPasswordRequest(email=email))
        assert refusal.reason == "TOO_MANY_ATTEMPTS"
    assert people.token("ada@example.com", "reset-password")
    assert people.subjects("nobody@example.com") == []


def test_reset_link_works_once_and_refuses_weak_password(people: Any, refused: Any) -> None:
    people.sign_up("ada@example.com")
    people.auth.ForgotPassword(pb.ForgotPasswordRequest(email="ada@example.com"))
    token = people.token("ada@example.com", "reset-password")
    with refused() as refusal:
        people.auth.ResetPassword(pb.ResetPasswordRequest(token=token, password="password1"))
    assert (refusal.reason, list(refusal.violations)) == ("PASSWORD_WEAK", ["password"])
    people.auth.ResetPassword(pb.ResetPasswordRequest(token=token, password=ANOTHER))
    with refused() as refusal:
        people.auth.ResetPassword(pb.ResetPasswordRequest(token=token, password=ANOTHER))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LINK_USED")
    with refused() as refusal:
        people.log_in("ada@example.com")
    assert refusal.reason == "CREDENTIALS_INVALID"


def test_password_change_ends_all_other_sessions(people: Any, refused: Any) -> None:
    other = people.verified("ada@example.com")
    this = people.log_in("ada@example.com")
    request = pb.ChangePasswordRequest(current_password="wrong horse", new_password=ANOTHER)
    with refused() as refusal:
        people.auth.ChangePassword(request, metadata=people.bearer(this.access_token))
    assert refusal.reason == "CREDENTIALS_INVALID"
    request.current_password, request.new_password = "correct horse battery", "adaadaada"
    with refused() as refusal:
        people.auth.ChangePassword(request, metadata=people.bearer(this.access_token))
    assert (refusal.reason, list(refusal.violations)) == ("PASSWORD_WEAK", ["newPassword"])
    request.new_password = ANOTHER
    people.auth.ChangePassword(request, metadata=people.bearer(this.access_token))
    assert eventually(lambda: people.is_out(other.access_token), within_s=1.0)
    assert not people.is_out(this.access_token)
    assert people.log_in("ada@example.com", ANOTHER).access_token
    assert eventually(lambda: people.subjects("ada@example.com").count("Your password was changed") == 1)


def test_password_change_is_not_mailed_to_unverified_email(people: Any) -> None:
    stranger = people.sign_up("victim@example.com")
    request = pb.ChangePasswordRequest(current_password="correct horse battery", new_password=ANOTHER)
    people.auth.ChangePassword(request, metadata=people.bearer(stranger.access_token))
    people.auth.ForgotPassword(pb.ForgotPasswordRequest(email="victim@example.com"))
    assert people.token("victim@example.com", "reset-password")
    assert "Your password was changed" not in people.subjects("victim@example.com")


def test_unknown_email_takes_as_long_as_wrong_password(people: Any, refused: Any) -> None:
    people.sign_up("ada@example.com")

    def timed(email: str) -> float:
        started = time.perf_counter()
        with refused():
            people.log_in(email, "wrong horse")
        return time.perf_counter() - started

    pairs = [(timed("ada@example.com"), timed(f"{uuid4().hex}@example.com")) for _ in range(9)]
    known, unknown = (statistics.median(times) for times in zip(*pairs, strict=True))
    assert 1 / 1.5 < known / unknown < 1.5
