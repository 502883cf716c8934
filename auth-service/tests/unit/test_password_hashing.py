"""Password hashes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any

import pytest
from argon2 import PasswordHasher

from adlib.errors import Unavailable
from adtesting import eventually
from auth_service.password_hashing import Argon2Hasher


def test_only_the_right_password_verifies() -> None:
    passwords = Argon2Hasher()
    kept = passwords.hash("correct horse")
    assert kept.startswith("$argon2id$")
    assert passwords.verify(kept, "correct horse")
    assert not passwords.verify(kept, "wrong horse")
    assert not passwords.is_outdated(kept)


def test_verification_without_hash_always_fails() -> None:
    passwords = Argon2Hasher()
    assert not passwords.verify(None, "")
    assert not passwords.verify("not a hash", "correct horse")


def test_hash_with_weaker_parameters_is_outdated() -> None:
    assert Argon2Hasher().is_outdated(PasswordHasher(time_cost=1, memory_cost=1024).hash("correct horse"))


class Watched(PasswordHasher):
    """Records the maximum number of concurrent hashes."""

    def __init__(self) -> None:
        super().__init__(time_cost=5, memory_cost=4096)
        self._lock = Lock()
        self._now = 0
        self.most = 0

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        yield
        with self._lock:
            self._now -= 1

    def hash(self, *arguments: Any, **named: Any) -> str:
        with self._counted():
            return super().hash(*arguments, **named)

    def verify(self, *arguments: Any, **named: Any) -> Any:
        with self._counted():
            return super().verify(*arguments, **named)


def test_passwords_are_compared_in_nfc() -> None:
    passwords = Argon2Hasher(PasswordHasher(time_cost=1, memory_cost=1024))
    assert passwords.verify(passwords.hash("caf\u00e9 noir"), "cafe\u0301 noir")
    assert not passwords.verify(passwords.hash("caf\u00e9 noir"), "cafe noir")


def test_concurrent_hashes_are_limited() -> None:
    hasher = Watched()
    passwords = Argon2Hasher(hasher)
    kept = passwords.hash("correct horse")
    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(lambda _: passwords.verify(kept, "correct horse"), range(32)))
        assert len(set(threads.map(lambda _: passwords.hash("correct horse"), range(32)))) == 32
    assert 1 < hasher.most <= 4


def test_hashing_beyond_the_queue_limit_is_unavailable() -> None:
    go, inside = Event(), []

    class Stuck(PasswordHasher):
        def verify(self, *_arguments: Any, **_named: Any) -> Any:
            inside.append(1)
            return go.wait(10)

    passwords = Argon2Hasher(Stuck(time_cost=1, memory_cost=1024))
    with ThreadPoolExecutor(52) as threads:
        waiting = [threads.submit(passwords.verify, "hash", "correct horse") for _ in range(52)]
        assert eventually(lambda: passwords._admitted._value == 0)
        with pytest.raises(Unavailable):
            passwords.verify("hash", "correct horse")
        with pytest.raises(Unavailable):
            passwords.hash("correct horse")
        assert eventually(lambda: len(inside) == 4)
        go.set()
        assert all(one.result() for one in waiting)
    assert passwords.hash("correct horse")
