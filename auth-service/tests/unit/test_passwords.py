"""Password hashes."""

from argon2 import PasswordHasher

from auth_service.accounts.passwords import Passwords


def test_the_right_password_and_no_other() -> None:
    passwords = Passwords()
    kept = passwords.hash("correct horse")
    assert kept.startswith("$argon2id$")
    assert passwords.verify(kept, "correct horse")
    assert not passwords.verify(kept, "wrong horse")
    assert not passwords.is_outdated(kept)


def test_nobody_has_no_password_not_even_the_empty_one() -> None:
    passwords = Passwords()
    assert not passwords.verify(None, "")
    assert not passwords.verify("not a hash", "correct horse")


def test_a_weaker_hash_is_outdated() -> None:
    assert Passwords().is_outdated(PasswordHasher(time_cost=1, memory_cost=1024).hash("correct horse"))
