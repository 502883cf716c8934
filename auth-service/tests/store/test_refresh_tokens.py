"""Refresh tokens: in any order of use, late reuse of one ends its session and no other."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from adlib.clock import FixedClock
from adlib.db import Database, Query, Transaction
from adlib.ids import new_id
from adlib.outbox import Outbox
from auth_service.sessions.model import Client, RefreshTokenInvalid, successor
from auth_service.sessions.service import SessionService
from auth_service.signing_keys import KeyRing
from auth_service.tables import sessions
from auth_service.users import store as users
from auth_service.users.model import User

_SESSIONS = Query(select(sessions).limit(10))
START = datetime(2026, 1, 2, tzinfo=UTC)


class FakeInvalidations:
    def __init__(self) -> None:
        self.ended: list[UUID] = []

    def session_ended(self, _tx: Transaction, session_id: UUID) -> None:
        self.ended.append(session_id)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@dataclass
class Family:
    """The expected state of a session: its tokens in order, when each was issued, and when it was first used."""

    tokens: list[str]
    issued: list[datetime]
    used: dict[int, datetime] = field(default_factory=dict)
    ended: bool = False

    def repeats(self, index: int, now: datetime) -> bool:
        """Whether this token was used in the last 30 s, and its successor was not."""
        return index in self.used and now - self.used[index] < timedelta(seconds=30) and index + 1 not in self.used


class Harness:
    def __init__(self, db: Database, keys: KeyRing) -> None:
        self.clock = FixedClock(START)
        self.invalidations = FakeInvalidations()
        self.sessions = SessionService(db, Outbox("auth", self.clock), keys, self.invalidations, self.clock, new_id)
        self.user = User(new_id(), f"{new_id()}@example.com", "Ada")
        self._db = db
        with db.transaction() as tx:
            users.add(tx, self.user, START)

    def start(self) -> Family:
        with self._db.transaction() as tx:
            token = self.sessions.start(tx, self.user.id, Client()).refresh_token
        return Family([token], [self.clock.now()])

    def refresh(self, family: Family, index: int) -> None:
        """Uses one of the family's tokens and asserts that it works exactly when it should."""
        now = self.clock.now()
        is_young = now - family.issued[index] < timedelta(days=30)
        repeats = family.repeats(index, now)
        works = not family.ended and (repeats or (index not in family.used and is_young))
        try:
            fresh = self.sessions.refresh(family.tokens[index]).refresh_token
        except RefreshTokenInvalid:
            assert not works
            # Expired tokens are deleted eventually; until then, reuse of a used one ends the session.
            if index in family.used and is_young:
                family.ended = True
        else:
            assert works
            if repeats:
                assert fresh == family.tokens[index + 1]
                return
            family.used[index] = now
            family.tokens.append(fresh)
            family.issued.append(now)


steps = st.lists(
    st.tuples(
        st.sampled_from(["newest", "newest", "last", "any", "seconds", "days"]), st.integers(0, 1), st.integers(0, 20)
    ),
    max_size=20,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_late_reuse_ends_only_its_own_session(db: Database, keys: KeyRing, steps: list[tuple[str, int, int]]) -> None:
    harness = Harness(db, keys)
    families = [harness.start(), harness.start()]
    for what, which, number in steps:
        family = families[which]
        if what == "days":
            # Never close to the expiry of a token, since the time at which expired tokens are deleted is not specified.
            harness.clock.at += timedelta(days=number % 12, hours=1)
        elif what == "seconds":
            harness.clock.at += timedelta(seconds=2 * number)
        else:
            last = len(family.tokens) - 1
            harness.refresh(family, {"newest": last, "last": max(0, last - 1)}.get(what, number % len(family.tokens)))
        live = {one.id for one in harness.sessions.list_live(harness.user.id)}
        assert len(harness.invalidations.ended) == sum(one.ended for one in families)
        assert live.isdisjoint(harness.invalidations.ended)


@pytest.mark.parametrize("tabs", [2, 20])
def test_concurrent_refreshes_return_the_same_successor(db: Database, keys: KeyRing, tabs: int) -> None:
    harness = Harness(db, keys)
    family = harness.start()
    ready = threading.Barrier(tabs)

    def refresh(_: int) -> str:
        ready.wait()
        return harness.sessions.refresh(family.tokens[0]).refresh_token

    with ThreadPoolExecutor(tabs) as threads:
        (shared,) = set(threads.map(refresh, range(tabs)))
    assert harness.sessions.refresh(shared).refresh_token
    assert harness.invalidations.ended == []


def test_shared_successor_is_detected_at_next_refresh(db: Database, keys: KeyRing) -> None:
    harness = Harness(db, keys)
    family = harness.start()
    owners = harness.sessions.refresh(family.tokens[0]).refresh_token
    thiefs = harness.sessions.refresh(family.tokens[0]).refresh_token
    # Both refresh when their access tokens expire, rarely within the same half minute.
    harness.clock.at += timedelta(minutes=14)
    owners = harness.sessions.refresh(owners).refresh_token
    harness.clock.at += timedelta(seconds=31)
    with pytest.raises(RefreshTokenInvalid):
        harness.sessions.refresh(thiefs)
    with pytest.raises(RefreshTokenInvalid):
        harness.sessions.refresh(owners)
    assert len(harness.invalidations.ended) == 1


def test_refresh_in_the_last_second_can_be_repeated(db: Database, keys: KeyRing) -> None:
    harness = Harness(db, keys)
    family = harness.start()
    harness.clock.at += timedelta(days=30) - timedelta(seconds=1)
    fresh = harness.sessions.refresh(family.tokens[0]).refresh_token
    harness.clock.at += timedelta(seconds=29)
    assert harness.sessions.refresh(family.tokens[0]).refresh_token == fresh


def test_database_does_not_reveal_tokens(db: Database, keys: KeyRing) -> None:
    harness = Harness(db, keys)
    family = harness.start()
    harness.refresh(family, 0)
    (row,) = db.all(_SESSIONS)
    kept = {value for value in row if isinstance(value, bytes)}
    assert len(kept) == 2
    assert successor("", row.successor_salt) != family.tokens[1]
    assert not kept & {token.encode() for token in family.tokens}
    # The next rotation replaces the salt of this successor.
    harness.refresh(family, 1)
    assert db.all(_SESSIONS)[0].successor_salt != row.successor_salt


def test_session_expires_after_thirty_days_without_refresh(db: Database, keys: KeyRing) -> None:
    harness = Harness(db, keys)
    family = harness.start()
    harness.clock.at += timedelta(days=29)
    harness.refresh(family, 0)
    harness.clock.at += timedelta(days=29)
    assert len(harness.sessions.list_live(harness.user.id)) == 1
    harness.refresh(family, 1)
    harness.clock.at += timedelta(days=30)
    assert harness.sessions.list_live(harness.user.id) == []
    with pytest.raises(RefreshTokenInvalid):
        harness.sessions.refresh(family.tokens[2])


@pytest.mark.parametrize("token", ["", "nonsense", "a\0b", "x" * 512])
def test_unknown_refresh_token_changes_nothing(db: Database, keys: KeyRing, token: str) -> None:
    with pytest.raises(RefreshTokenInvalid):
        Harness(db, keys).sessions.refresh(token)
