"""Ways into an account that are closed while a call that uses them is still under way."""

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
from auth_service.accounts import store
from auth_service.accounts.attempts import Attempts, TooManyAttempts
from auth_service.accounts.credentials import Credentials
from auth_service.accounts.emails import Emails
from auth_service.accounts.firebase import FakeFirebase
from auth_service.accounts.model import CredentialsInvalid, FirebaseUser, NotSignedUp, PasswordWeak, User
from auth_service.accounts.password_changes import PasswordChanges
from auth_service.accounts.passwords import Passwords
from auth_service.accounts.reclaiming import Reclaiming
from auth_service.accounts.service import AccountService
from auth_service.links.model import LinkInvalid, Purpose
from auth_service.links.service import Links
from auth_service.mail.outgoing import Outgoing
from auth_service.sessions.keys import KeyRing
from auth_service.sessions.model import Client
from auth_service.sessions.service import SessionService

OLD, NEW = "correct horse battery", "staple of nine violets"


class Interrupted(Passwords):
    """Lets something happen after a password was found to be right, once."""

    def __init__(self) -> None:
        super().__init__(PasswordHasher(time_cost=1, memory_cost=1024))
        self.then: Callable[[], object] = lambda: None

    def verify(self, kept: str | None, password: str) -> bool:
        is_right = super().verify(kept, password)
        then, self.then = self.then, lambda: None
        then()
        return is_right


class FakeInvalidations:
    def session_ended(self, _tx: Transaction, _session_id: UUID) -> None:
        """Nobody asks."""


class World:
    """Ada's account, and everything that changes it."""

    def __init__(self, db: Database, redis_url: str, keys: KeyRing) -> None:
        clock = SystemClock()
        shared = connect_redis(redis_url)
        outbox, outgoing = Outbox("auth", clock), Outgoing(clock, new_id)
        invalidations: Any = FakeInvalidations()
        attempts = Attempts(shared, clock)
        self.db = db
        self.links = Links(keys, clock, new_id)
        self.sessions = SessionService(db, outbox, keys, invalidations, clock, new_id)
        self.passwords, self.firebase = Interrupted(), FakeFirebase()
        credentials = Credentials(db, self.passwords, attempts, clock)
        reclaiming = Reclaiming(self.sessions, self.links, invalidations, clock)
        self.accounts = AccountService(db, outbox, self.sessions, credentials, self.firebase, reclaiming, clock)
        self.changes = PasswordChanges(
            db, outbox, self.sessions, credentials, attempts, self.links, reclaiming, outgoing, clock, new_id
        )
        self.emails = Emails(db, outbox, credentials, attempts, self.links, outgoing, clock)
        self.ada = User(new_id(), f"{new_id()}@example.com", "Ada", email_verified=True)
        with db.transaction() as tx:
            store.add_user(tx, self.ada, self.passwords.hash(OLD), clock.now())

    def reset(self) -> None:
        """Ada sets a new password by the link in her mail."""
        with self.db.transaction() as tx:
            link = self.links.make(tx, Purpose.RESET_PASSWORD, self.ada.id, self.ada.email)
        self.changes.reset(self.links.token(link), NEW)


@pytest.fixture
def world(database_url: str, redis_url: str, keys: KeyRing) -> Iterator[World]:
    db = Database(database_url)
    yield World(db, redis_url, keys)
    db.close()


def test_who_signs_in_with_the_old_password_meanwhile_is_not_signed_in(world: World) -> None:
    world.passwords.then = world.reset
    with pytest.raises(Aborted):
        world.accounts.log_in(world.ada.email, OLD, Client())
    assert not world.sessions.of(world.ada.id)
    world.accounts.log_in(world.ada.email, NEW, Client())


@contextmanager
def crowd(world: World) -> Iterator[None]:
    """Everybody who can wait for a password to be hashed does."""
    go, taken = threading.Event(), threading.Barrier(53)

    def wait() -> None:
        with world.passwords.place():
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


def test_an_overload_counts_as_no_wrong_password(world: World) -> None:
    with crowd(world):
        for _ in range(20):
            with pytest.raises(Unavailable):
                world.accounts.log_in(world.ada.email, OLD, Client("192.0.2.7"))
            with pytest.raises(Unavailable):
                world.changes.change(world.ada.id, new_id(), OLD, NEW, "192.0.2.7")
            with pytest.raises(Unavailable):
                world.emails.ask_change(world.ada.id, "eve@example.com", OLD, "192.0.2.7")
    for _ in range(10):
        with pytest.raises(CredentialsInvalid):
            world.accounts.log_in(world.ada.email, "wrong horse", Client("192.0.2.7"))
    with pytest.raises(TooManyAttempts):
        world.accounts.log_in(world.ada.email, OLD, Client("192.0.2.7"))


def test_an_overload_counts_as_no_try_of_a_reset_link(world: World) -> None:
    with world.db.transaction() as tx:
        token = world.links.token(world.links.make(tx, Purpose.RESET_PASSWORD, world.ada.id, world.ada.email))
    with crowd(world):
        for _ in range(20):
            with pytest.raises(Unavailable):
                world.changes.reset(token, NEW)
    for _ in range(9):
        with pytest.raises(PasswordWeak):
            world.changes.reset(token, "password1")
    assert world.changes.reset(token, NEW) == world.ada.id


def test_who_changes_the_old_password_meanwhile_does_not_take_the_account_back(world: World) -> None:
    world.passwords.then = world.reset
    with pytest.raises(Aborted):
        world.changes.change(world.ada.id, new_id(), OLD, "another of nine violets", "")
    with pytest.raises(CredentialsInvalid):
        world.accounts.log_in(world.ada.email, "another of nine violets", Client())
    world.accounts.log_in(world.ada.email, NEW, Client())


def test_who_asks_for_another_email_meanwhile_gets_no_link(world: World) -> None:
    world.passwords.then = world.reset
    with pytest.raises(Aborted):
        world.emails.ask_change(world.ada.id, "eve@example.com", OLD, "")


def test_who_signs_in_as_a_firebase_user_that_is_being_unlinked_waits_and_is_refused(world: World) -> None:
    world.firebase.users["eve"] = FirebaseUser("uid-eve", "", email_verified=False)
    with world.db.transaction() as tx:
        store.link_firebase(tx, world.ada.id, "uid-eve", SystemClock().now())
    with ThreadPoolExecutor(1) as thread:
        with world.db.transaction() as tx:
            store.link_firebase(tx, world.ada.id, None, SystemClock().now())
            world.sessions.end_all(tx, world.ada.id)
            signing_in = thread.submit(world.accounts.log_in_with_firebase, "eve", Client())
            # Either it waits for us, or it is done long before.
            until = time.monotonic() + 0.5
            while time.monotonic() < until and not signing_in.done():
                pass
        with pytest.raises(NotSignedUp):
            signing_in.result(5)
    assert not world.sessions.of(world.ada.id)


def test_a_link_to_an_email_that_is_no_longer_ones_own_sets_no_password(world: World) -> None:
    with world.db.transaction() as tx:
        link = world.links.make(tx, Purpose.RESET_PASSWORD, world.ada.id, "old@example.com")
    with pytest.raises(LinkInvalid):
        world.changes.reset(world.links.token(link), NEW)
