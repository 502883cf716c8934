"""Verifies passwords under a rate limit and hashes new ones."""

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import Aborted
from auth_service.credentials import store
from auth_service.credentials.model import CredentialsInvalid, VerifiedPassword, require_strong
from auth_service.password_hashing import Argon2Hasher
from auth_service.rate_limits.service import AttemptLimiter
from auth_service.users.model import User


class Credentials:
    """Passwords of users."""

    def __init__(self, db: Database, hasher: Argon2Hasher, limiter: AttemptLimiter, clock: Clock) -> None:
        self._db = db
        self._hasher = hasher
        self._limiter = limiter
        self._clock = clock

    def verify(self, email: str, password: str, address: str) -> VerifiedPassword:
        """The user with this normalized e-mail address and password; CREDENTIALS_INVALID, TOO_MANY_ATTEMPTS.

        An unknown e-mail address takes the same path as a wrong password: one counted attempt, one read, one hash, no
        write. An attempt that could not be compared, because the platform was down or busy, is not counted.
        """
        with self._hasher.admission(), self._limiter.password_attempt(email, address) as attempt:
            found = store.by_email(self._db, email)
            user, hash = found or (None, None)
            if not self._hasher.verify(hash, password) or user is None or hash is None:
                attempt.fail()
                raise CredentialsInvalid
            attempt.succeed()
        if self._hasher.is_outdated(hash):
            # Outside the transaction, like every hash: it takes some 50 ms, during which no connection should be held.
            new_hash = self._hasher.hash(password)
            with self._db.transaction() as tx:
                store.rehash(tx, user.id, hash, new_hash, self._clock.now())
            hash = new_hash
        return VerifiedPassword(user, hash)

    def lock(self, tx: Transaction, verified: VerifiedPassword) -> User:
        """Locks the password for the transaction that relies on it; ABORTED if it has changed since it was verified.

        Otherwise a caller with the old password and a call in flight would still have access after a reset.
        """
        if store.lock_password(tx, verified.user.id) != verified.password_hash:
            raise Aborted("the password is being changed; try again")
        return verified.user

    def hash_new(self, password: str, field: str, *user_inputs: str) -> str:
        """The hash of a new password; PASSWORD_WEAK if it is easy to guess, given these texts about its user."""
        require_strong(password, field, *user_inputs)
        return self._hasher.hash(password)

    def reset_limit(self, email: str) -> None:
        """Clears the failed attempts of an account that is about to receive a new password."""
        self._limiter.reset_account(email)
