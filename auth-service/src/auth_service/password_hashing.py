"""Password hashes: argon2id (RFC 9106)."""

import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from adlib.errors import Unavailable

# A hash takes 64 MiB, and every unauthenticated sign-in computes one.
_MAX_CONCURRENT_HASHES = 4
# Each waiting call holds one of the 64 threads that also serve the other services.
_MAX_WAITING_CALLS = 48


class Argon2Hasher:
    """Hashes and verifies with argon2-cffi's current parameters (64 MiB, 3 passes), 4 at a time.

    UNAVAILABLE immediately if 48 calls are already waiting.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._hashing = BoundedSemaphore(_MAX_CONCURRENT_HASHES)
        self._admitted = BoundedSemaphore(_MAX_CONCURRENT_HASHES + _MAX_WAITING_CALLS)
        # A thread is admitted once, however deeply its blocks are nested.
        self._thread = threading.local()
        self._dummy_hash = self._hasher.hash("")

    def hash(self, password: str) -> str:
        """The hash to store, in PHC string format."""
        with self.admission(), self._hashing:
            return self._hasher.hash(_normalized(password))

    def verify(self, hash: str | None, password: str) -> bool:
        """Whether the password matches; without a hash it takes the same time and is False."""
        try:
            with self.admission(), self._hashing:
                self._hasher.verify(hash or self._dummy_hash, _normalized(password))
        except (VerificationError, InvalidHashError):
            return False
        return hash is not None

    def is_outdated(self, hash: str) -> bool:
        """Whether the hash was made with weaker parameters than the current ones."""
        return self._hasher.check_needs_rehash(hash)

    @contextmanager
    def admission(self) -> Iterator[None]:
        """Holds one of the 52 places for hashing and waiting calls; UNAVAILABLE immediately if all are taken."""
        if getattr(self._thread, "is_admitted", False):
            yield
            return
        if not self._admitted.acquire(blocking=False):
            raise Unavailable("too many people are signing in right now; try again")
        self._thread.is_admitted = True
        try:
            yield
        finally:
            self._thread.is_admitted = False
            self._admitted.release()


def _normalized(password: str) -> str:
    """NFC, as the OpaqueString profile requires (RFC 8265): keyboards encode the same letter differently."""
    return unicodedata.normalize("NFC", password)
