"""Password hashes: argon2id (RFC 9106)."""

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError


class Passwords:
    """Hashes and verifies with the library's current parameters (64 MiB, 3 passes)."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._nobodys = self._hasher.hash("")

    def hash(self, password: str) -> str:
        """The hash to store, in PHC string format."""
        return self._hasher.hash(password)

    def verify(self, kept: str | None, password: str) -> bool:
        """Whether the password is right. Without a hash it takes as long and is wrong."""
        try:
            self._hasher.verify(kept or self._nobodys, password)
        except (VerificationError, InvalidHashError):
            return False
        return kept is not None

    def is_outdated(self, kept: str) -> bool:
        """Whether the hash was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(kept)
