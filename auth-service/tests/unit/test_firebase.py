"""The contract of FirebaseTokens: firebase-admin with the emulator, and the fake."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import jwt
import pytest

from adtesting.auth import FakeFirebase
from auth_service.credentials.firebase.client import FirebaseAdmin, FirebaseTokens, NoFirebase
from auth_service.credentials.firebase.model import FirebaseUser, SignInNotAvailable
from auth_service.credentials.model import CredentialsInvalid

PROJECT = "adplatform-test"


def unsigned(**changes: object) -> str:
    """A token as the emulator issues it."""
    now = int(time.time())
    claims = {
        "iss": f"https://securetoken.google.com/{PROJECT}", "aud": PROJECT, "sub": "uid-ada", "user_id": "uid-ada",
        "email": "Ada@Example.com", "email_verified": True, "iat": now, "auth_time": now, "exp": now + 3600,
    }  # fmt: skip
    return jwt.encode({**claims, **changes}, None, algorithm="none")


@dataclass
class Case:
    tokens: FirebaseTokens
    token_of: Callable[[FirebaseUser], str]


def fake() -> Case:
    tokens = FakeFirebase()

    def token_of(user: FirebaseUser) -> str:
        tokens.users[user.uid] = user
        return user.uid

    return Case(tokens, token_of)


def admin() -> Case:
    def token_of(user: FirebaseUser) -> str:
        return unsigned(sub=user.uid, email=user.email or None, email_verified=user.email_verified)

    return Case(FirebaseAdmin(PROJECT), token_of)


@pytest.fixture(params=[fake, admin])
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setenv("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:1")
    made: Case = request.param()
    return made


@pytest.mark.parametrize(
    "user",
    [
        FirebaseUser("uid-ada", "ada@example.com", email_verified=True),
        FirebaseUser("uid-eve", "eve@example.com", email_verified=False),
        FirebaseUser("uid-nobody", "", email_verified=False),
    ],
)
def test_token_identifies_user_and_verified_email(case: Case, user: FirebaseUser) -> None:
    assert case.tokens.verify(case.token_of(user)) == user


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", ""])
def test_malformed_token_is_refused(case: Case, token: str) -> None:
    with pytest.raises(CredentialsInvalid):
        case.tokens.verify(token)


def test_email_is_normalized_and_token_of_another_project_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:1")
    tokens = FirebaseAdmin(PROJECT)
    assert tokens.verify(unsigned()).email == "ada@example.com"
    with pytest.raises(CredentialsInvalid):
        tokens.verify(unsigned(aud="another", iss="https://securetoken.google.com/another"))


@pytest.mark.parametrize(
    "email", ["\uff41da@example.com", "ada@exampl\u24d4.com", "\u212aada@example.com", "ada@\u0435xample.com"]
)
def test_non_ascii_firebase_email_is_ignored(monkeypatch: pytest.MonkeyPatch, email: str) -> None:
    monkeypatch.setenv("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:1")
    assert FirebaseAdmin(PROJECT).verify(unsigned(email=email)) == FirebaseUser("uid-ada", "", email_verified=False)


def test_unsigned_token_is_refused_without_the_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIREBASE_AUTH_EMULATOR_HOST", raising=False)
    with pytest.raises(CredentialsInvalid):
        FirebaseAdmin(PROJECT).verify(unsigned())


def test_unconfigured_firebase_refuses_every_token() -> None:
    with pytest.raises(SignInNotAvailable):
        NoFirebase().verify(unsigned())
