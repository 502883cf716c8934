"""Rules about people's e-mails and passwords."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.accounts.model import PasswordWeak, normalized_email
from auth_service.accounts.strength import require_strong


@pytest.mark.parametrize(
    "email", ["Ada@Example.COM", " ada@example.com\n", "\uff41da@example.com", "ada@example\uff0ecom"]
)
def test_an_email_is_one_whatever_way_it_is_written(email: str) -> None:
    assert normalized_email(email) == "ada@example.com"


@given(st.text(max_size=50))
def test_normalising_twice_changes_nothing(email: str) -> None:
    assert normalized_email(normalized_email(email)) == normalized_email(email)


@pytest.mark.parametrize("password", ["correct horse battery", "staple of nine violets", "kf8#Lq0z"])
def test_what_is_hard_to_guess_is_accepted(password: str) -> None:
    require_strong(password, "password", "ada@example.com", "Ada")


@pytest.mark.parametrize("password", ["password", "12345678", "qwertyuiop", "aaaaaaaa", "lovelace1", "zanzibar7"])
def test_what_is_easy_to_guess_is_refused_with_words_about_it(password: str) -> None:
    with pytest.raises(PasswordWeak) as refused:
        require_strong(password, "newPassword", "ada@example.com", "Ada Lovelace", "Zanzibar Trading")
    (violation,) = refused.value.violations
    assert violation.field == "newPassword"
    assert violation.description.endswith(".")


@pytest.mark.parametrize(
    "unit",
    ["aB3$kd9!", "4@8({[</", "4@8({[<369&#!1/|0$5+7%2", "p@$$w0rd4(!1|7+", "19/11/1999", "qwerty", "\U0001f600", "a1"],
)
def test_no_password_takes_long_to_judge(unit: str) -> None:
    started = time.thread_time()
    with suppress(PasswordWeak):
        require_strong((unit * 128)[:128], "password", "x" * 200, "y " * 100)
    assert time.thread_time() - started < 1
