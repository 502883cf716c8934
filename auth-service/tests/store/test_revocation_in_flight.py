"""Credentials that are revoked while a call that uses them is in progress."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from argon2 import PasswordHasher

from adlib.clock import SystemClock
from adlib.db import Database, Transaction
from adlib.errors import Aborted, Unavailable
from adlib.ids import new_id
from adlib.outbox import Outbox
from adlib.service import connect_redis
from adtesting.auth import FakeFirebase
from auth_service.accounts.model import NotSignedUp
from auth_service.accounts.service import AccountService
from auth_service.credentials import store as credential_store
from auth_service.credentials.firebase.model import FirebaseUser
from auth_service.credentials.model import CredentialsInvalid, PasswordWeak
from auth_service.credentials.service import Credentials
from auth_service.emails.service import EmailService
from auth_service.links.model import LinkInvalid, Purpose
from auth_service.links.service import Links
from auth_service.mail.service import OutgoingMail
from auth_service.password_hashing import Argon2Hasher
from auth_service.passwords.service import PasswordService, PasswordWriter
from auth_service.rate_limits.service import AttemptLimiter, TooManyAttempts
from auth_service.reclaiming.service import AccountReclaimer
from auth_service.sessions.model import Client
from auth_service.sessions.service import SessionService
from auth_service.signing_keys import KeyRing
from auth_service.users import store as users
from auth_service.users.model import User

OLD, NEW = "correct horse battery", "staple of nine violets"


class InterruptedHasher(Argon2Hasher):
    """Calls `then` once, after the next verification."""

    def __init__(self) -> None:
        super().__init__(PasswordHasher(time_cost=1, memory_cost=1024))
        self.then: Callable[[], object] = lambda: None

    def verify(self, hash: str | None, password: str) -> bool:
        is_right = super().verify(hash, password)
        then, self.then = self.then, lambda: None
        then()
        return is_right


class FakeInvalidations:
    def session_ended(self, _tx: Transaction, _session_id: UUID) -> None:
        """Not checked here."""


class Account:
    """Ada's account and the services that change it."""

    def __init__(self, db: Database, redis_url: str, keys: KeyRing) -> None:
        clock = SystemClock()
        shared = connect_redis(redis_url)
        outbox, mail = Outbox("auth", clock), OutgoingMail(clock, new_id)
        invalidations: Any = FakeInvalidations()
        limiter = AttemptLimiter(shared, clock)
        self.db = db
        self.links = Links(keys, clock, new_id)
        self.sessions = SessionService(db, outbox, keys, invalidations, clock, new_id)
        self.hasher, self.firebase = InterruptedHasher(), FakeFirebase()
        credentials = Credentials(db, self.hasher, limiter, clock)
        reclaimer = AccountReclaimer(outbox, self.sessions, self.links, invalidations, clock)
        self.accounts = AccountService(db, outbox, self.sessions, credentials, self.firebase, reclaimer, clock)
        writer = PasswordWriter(outbox, self.links, mail, clock)
        self.passwords = PasswordService(db, credentials, self.links, reclaimer, self.sessions, writer)
        self.emails = EmailService(db, outbox, credentials, limiter, self.links, mail)
        self.ada = User(new_id(), f"{new_id()}@example.com", "Ada", email_verified=True)
        with db.transaction() as tx:
            users.add(tx, self.ada, clock.now())
            credential_store.set_password(tx, self.ada.id, self.hasher.hash(OLD), clock.now())

    def reset(self) -> None:
        """Ada sets a new password by the link in her mail."""
        with self.db.transaction() as tx:
            link = self.links.create(tx, Purpose.RESET_PASSWORD, self.ada.id, self.ada.email)
        self.passwords.reset(self.links.token(link), NEW)


@pytest.fixture
def account(database_url: str, redis_url: str, keys: KeyRing) -> Iterator[Account]:
    db = Database(database_url)
    yield Account(db, redis_url, keys)
    db.close()


def test_sign_in_during_reset_is_aborted(account: Account) -> None:
    account.hasher.then = account.reset
    with pytest.raises(Aborted):
        account.accounts.sign_in(account.ada.email, OLD, Client())
    assert not account.sessions.list_live(account.ada.id)
    account.accounts.sign_in(account.ada.email, NEW, Client())


@contextmanager
def overload(account: Account) -> Iterator[None]:
    """All 52 places for hashing a password are taken."""
    go, taken = threading.Event(), threading.Barrier(53)

    def wait() -> None:
        with account.hasher.admission():
            taken.wait(5)
            go.wait(10)

    with ThreadPoolExecutor(52) as threads:
        waiting = [threads.submit(wait) for _ in range(52)]
        taken.wait(5)
        try:
            yield
        finally:
            go.set()
        for one in waiting:
            one.result()


def test_overload_does_not_count_as_failed_attempt(account: Account) -> None:
    with overload(account):
        for _ in range(20):
            with pytest.raises(Unavailable):
                account.accounts.sign_in(account.ada.email, OLD, Client("192.0.2.7"))
            with pytest.raises(Unavailable):
                account.passwords.change(account.ada.id, new_id(), OLD, NEW, "192.0.2.7")
            with pytest.raises(Unavailable):
                account.emails.request_change(account.ada.id, "eve@example.com", OLD, "192.0.2.7")
    for _ in range(10):
        with pytest.raises(CredentialsInvalid):
            account.accounts.sign_in(account.ada.email, "wrong horse", Client("192.0.2.7"))
    with pytest.raises(TooManyAttempts):
        account.accounts.sign_in(account.ada.email, OLD, Client("192.0.2.7"))


def test_overload_does_not_count_as_reset_link_attempt(account: Account) -> None:
    with account.db.transaction() as tx:
        token = account.links.token(account.links.create(tx, Purpose.RESET_PASSWORD, account.ada.id, account.ada.email))
    with overload(account):
        for _ in range(20):
            with pytest.raises(Unavailable):
                account.passwords.reset(token, NEW)
    for _ in range(9):
        with pytest.raises(PasswordWeak):
            account.passwords.reset(token, "password1")
    assert account.passwords.reset(token, NEW) == account.ada.id


def test_password_change_during_reset_is_aborted(account: Account) -> None:
    account.hasher.then = account.reset
    with pytest.raises(Aborted):
        account.passwords.change(account.ada.id, new_id(), OLD, "another of nine violets", "")
    with pytest.raises(CredentialsInvalid):
        account.accounts.sign_in(account.ada.email, "another of nine violets", Client())
    account.accounts.sign_in(account.ada.email, NEW, Client())


def test_email_change_during_reset_is_aborted(account: Account) -> None:
    account.hasher.then = account.reset
    with pytest.raises(Aborted):
        account.emails.request_change(account.ada.id, "eve@example.com", OLD, "")


def test_firebase_sign_in_during_unlink_is_refused(account: Account) -> None:
    account.firebase.users["eve"] = FirebaseUser("uid-eve", "", email_verified=False)
    with account.db.transaction() as tx:
        users.link_firebase(tx, account.ada.id, "uid-eve", SystemClock().now())
    with ThreadPoolExecutor(1) as thread:
        with account.db.transaction() as tx:
            users.unlink_firebase(tx, account.ada.id, SystemClock().now())
            account.sessions.end_all(tx, account.ada.id)
            signing_in = thread.submit(account.accounts.sign_in_with_firebase, "eve", Client())
            # The call either waits for this transaction or finishes well within this time.
            until = time.monotonic() + 0.5
            while time.monotonic() < until and not signing_in.done():
                pass
        with pytest.raises(NotSignedUp):
            signing_in.result(5)
    assert not account.sessions.list_live(account.ada.id)


def test_reset_link_to_replaced_email_is_invalid(account: Account) -> None:
    with account.db.transaction() as tx:
        link = account.links.create(tx, Purpose.RESET_PASSWORD, account.ada.id, "old@example.com")
    with pytest.raises(LinkInvalid):
        account.passwords.reset(account.links.token(link), NEW)
