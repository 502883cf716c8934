"""What every FirebaseTokens does: firebase-admin as it is with the emulator, and the fake."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import jwt
import pytest

from auth_service.accounts.firebase import FakeFirebase, FirebaseAdmin, FirebaseTokens, NoFirebase
from auth_service.accounts.model import CredentialsInvalid, FirebaseUser, SignInNotAvailable

PROJECT = "adplatform-test"


def unsigned(**changes: object) -> str:
    """A token as the emulator makes them."""
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
def test_a_token_says_who_it_is_and_whether_the_email_is_theirs(case: Case, user: FirebaseUser) -> None:
    assert case.tokens.verify(case.token_of(user)) == user


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", ""])
def test_what_is_no_token_is_refused(case: Case, token: str) -> None:
    with pytest.raises(CredentialsInvalid):
        case.tokens.verify(token)


def test_an_email_is_normalised_and_another_projects_token_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:1")
    tokens = FirebaseAdmin(PROJECT)
    assert tokens.verify(unsigned()).email == "ada@example.com"
    with pytest.raises(CredentialsInvalid):
        tokens.verify(unsigned(aud="another", iss="https://securetoken.google.com/another"))


@pytest.mark.parametrize(
    "email", ["\uff41da@example.com", "ada@exampl\u24d4.com", "\u212aada@example.com", "ada@\u0435xample.com"]
)
def test_an_email_that_only_looks_like_anothers_is_none(monkeypatch: pytest.MonkeyPatch, email: str) -> None:
    monkeypatch.setenv("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:1")
    assert FirebaseAdmin(PROJECT).verify(unsigned(email=email)) == FirebaseUser("uid-ada", "", email_verified=False)


def test_an_unsigned_token_is_refused_without_the_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIREBASE_AUTH_EMULATOR_HOST", raising=False)
    with pytest.raises(CredentialsInvalid):
        FirebaseAdmin(PROJECT).verify(unsigned())


def test_where_firebase_is_not_configured_no_token_is_good() -> None:
    with pytest.raises(SignInNotAvailable):
        NoFirebase().verify(unsigned())
