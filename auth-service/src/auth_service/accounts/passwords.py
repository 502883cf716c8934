"""Password hashes: argon2id (RFC 9106)."""

import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from adlib.errors import Unavailable

# A hash takes 64 MiB, and anybody can ask for one by signing in.
_AT_ONCE = 4
# Each waiting one holds one of the 64 threads that also answer what the other services ask.
_WAITING = 48


class Passwords:
    """Hashes and verifies with the library's current parameters (64 MiB, 3 passes), a few at a time.

    UNAVAILABLE, at once, where too many wait already.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._slots = BoundedSemaphore(_AT_ONCE)
        self._places = BoundedSemaphore(_AT_ONCE + _WAITING)
        # A thread takes one place, however many blocks it is in.
        self._own = threading.local()
        self._nobodys = self._hasher.hash("")

    def hash(self, password: str) -> str:
        """The hash to store, in PHC string format."""
        with self._turn():
            return self._hasher.hash(_prepared(password))

    def verify(self, kept: str | None, password: str) -> bool:
        """Whether the password is right. Without a hash it takes as long and is wrong."""
        try:
            with self._turn():
                self._hasher.verify(kept or self._nobodys, _prepared(password))
        except (VerificationError, InvalidHashError):
            return False
        return kept is not None

    def is_outdated(self, kept: str) -> bool:
        """Whether the hash was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(kept)

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places of those who wait, for a whole block; UNAVAILABLE, at once, where all are taken."""
        if getattr(self._own, "has_place", False):
            yield
            return
        if not self._places.acquire(blocking=False):
            raise Unavailable("too many people are signing in right now; try again")
        self._own.has_place = True
        try:
            yield
        finally:
            self._own.has_place = False
            self._places.release()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self.place(), self._slots:
            yield


def _prepared(password: str) -> str:
    """As the OpaqueString profile wants it (RFC 8265): keyboards spell the same letter in several ways."""
    return unicodedata.normalize("NFC", password)
