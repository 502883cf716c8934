"""Checking a password, with a limit on guesses; and accepting a new one."""

from dataclasses import dataclass

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import Aborted
from auth_service.accounts import store
from auth_service.accounts.attempts import Attempts
from auth_service.accounts.model import CredentialsInvalid, User
from auth_service.accounts.passwords import Passwords
from auth_service.accounts.strength import require_strong


@dataclass(frozen=True, slots=True)
class Proof:
    """Somebody gave the password that this is the hash of."""

    user: User
    password_hash: str


class Credentials:
    """Passwords of people."""

    def __init__(self, db: Database, passwords: Passwords, attempts: Attempts, clock: Clock) -> None:
        self._db = db
        self._passwords = passwords
        self._attempts = attempts
        self._clock = clock

    def check(self, email: str, password: str, address: str) -> Proof:
        """Whose e-mail (normalised) and password these are; CREDENTIALS_INVALID, TOO_MANY_ATTEMPTS.

        An unknown e-mail and a wrong password take the same way: one attempt counted, one read, one hash, no write.
        What could not be compared, because the platform is down or busy, is not counted.
        """
        with self._passwords.place(), self._attempts.at_password(email, address) as attempt:
            found = store.by_email(self._db, email)
            user, kept = found or (None, None)
            if not self._passwords.verify(kept, password) or user is None or kept is None:
                attempt.failed()
                raise CredentialsInvalid
            attempt.succeeded()
        if self._passwords.is_outdated(kept):
            # Outside the transaction, as every hash: it takes some 50 ms, and no connection should wait for it.
            rehashed = self._passwords.hash(password)
            with self._db.transaction() as tx:
                store.rehash(tx, user.id, kept, rehashed, self._clock.now())
            kept = rehashed
        return Proof(user, kept)

    def hold(self, tx: Transaction, proof: Proof) -> User:
        """Whose the proof is, in the transaction that acts on it; ABORTED where the password is another one by now.

        Whoever knew the old one could otherwise outlive a reset by always having a call under way.
        """
        if store.lock_password(tx, proof.user.id) != proof.password_hash:
            raise Aborted("the password is being changed; try again")
        return proof.user

    def accept(self, password: str, field: str, *about: str) -> str:
        """The hash of a new password; PASSWORD_WEAK where it is easy to guess for one who knows these texts."""
        require_strong(password, field, *about)
        return self._passwords.hash(password)
