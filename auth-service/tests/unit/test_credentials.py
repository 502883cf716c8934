"""Rules on e-mail addresses and passwords."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.credentials.model import PasswordWeak, require_strong
from auth_service.users.model import normalized_email


@pytest.mark.parametrize(
    "email", ["Ada@Example.COM", " ada@example.com\n", "\uff41da@example.com", "ada@example\uff0ecom"]
)
def test_spellings_of_one_email_are_normalized_to_the_same(email: str) -> None:
    assert normalized_email(email) == "ada@example.com"


@given(st.text(max_size=50))
def test_normalization_is_idempotent(email: str) -> None:
    assert normalized_email(normalized_email(email)) == normalized_email(email)


@pytest.mark.parametrize("password", ["correct horse battery", "staple of nine violets", "kf8#Lq0z"])
def test_strong_password_is_accepted(password: str) -> None:
    require_strong(password, "password", "ada@example.com", "Ada")


@pytest.mark.parametrize("password", ["password", "12345678", "qwertyuiop", "aaaaaaaa", "lovelace1", "zanzibar7"])
def test_weak_password_is_refused_with_advice(password: str) -> None:
    with pytest.raises(PasswordWeak) as refused:
        require_strong(password, "newPassword", "ada@example.com", "Ada Lovelace", "Zanzibar Trading")
    (violation,) = refused.value.violations
    assert violation.field == "newPassword"
    assert violation.description.endswith(".")


@pytest.mark.parametrize(
    "unit",
    ["aB3$kd9!", "4@8({[</", "4@8({[<369&#!1/|0$5+7%2", "p@$$w0rd4(!1|7+", "19/11/1999", "qwerty", "\U0001f600", "a1"],
)
def test_scoring_time_of_any_password_is_bounded(unit: str) -> None:
    started = time.thread_time()
    with suppress(PasswordWeak):
        require_strong((unit * 128)[:128], "password", "x" * 200, "y " * 100)
    assert time.thread_time() - started < 1
