"""Refresh tokens: in whatever order they are used, one that is used again too late ends its session and no other."""

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
from auth_service.accounts import store as accounts
from auth_service.accounts.model import User
from auth_service.sessions.keys import KeyRing
from auth_service.sessions.model import Client, RefreshTokenInvalid
from auth_service.sessions.service import SessionService
from auth_service.sessions.tokens import successor
from auth_service.tables import sessions

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
    """A session as it should be: its tokens in their order, when each was handed out, and when it was first used."""

    tokens: list[str]
    issued: list[datetime]
    used: dict[int, datetime] = field(default_factory=dict)
    ended: bool = False

    def repeats(self, index: int, now: datetime) -> bool:
        """Whether this token was used in the last 30 s, and its successor was not."""
        return index in self.used and now - self.used[index] < timedelta(seconds=30) and index + 1 not in self.used


class World:
    def __init__(self, db: Database, keys: KeyRing) -> None:
        self.clock = FixedClock(START)
        self.invalidations = FakeInvalidations()
        self.sessions = SessionService(db, Outbox("auth", self.clock), keys, self.invalidations, self.clock, new_id)
        self.user = User(new_id(), f"{new_id()}@example.com", "Ada")
        self._db = db
        with db.transaction() as tx:
            accounts.add_user(tx, self.user, None, START)

    def begin(self) -> Family:
        with self._db.transaction() as tx:
            token = self.sessions.begin(tx, self.user.id, Client()).refresh_token
        return Family([token], [self.clock.now()])

    def refresh(self, family: Family, index: int) -> None:
        """Uses one of the family's tokens, old or new, and holds that it works exactly where it should."""
        now = self.clock.now()
        is_young = now - family.issued[index] < timedelta(days=30)
        repeats = family.repeats(index, now)
        works = not family.ended and (repeats or (index not in family.used and is_young))
        try:
            fresh = self.sessions.refresh(family.tokens[index]).refresh_token
        except RefreshTokenInvalid:
            assert not works
            # A token that is too old is forgotten sooner or later; one that was used before that ends the session.
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
def test_late_reuse_ends_its_session_and_no_other(
    db: Database, keys: KeyRing, steps: list[tuple[str, int, int]]
) -> None:
    world = World(db, keys)
    families = [world.begin(), world.begin()]
    for what, which, number in steps:
        family = families[which]
        if what == "days":
            # Never near the thirty days of one of the tokens: when an old one is forgotten does not matter.
            world.clock.at += timedelta(days=number % 12, hours=1)
        elif what == "seconds":
            world.clock.at += timedelta(seconds=2 * number)
        else:
            last = len(family.tokens) - 1
            world.refresh(family, {"newest": last, "last": max(0, last - 1)}.get(what, number % len(family.tokens)))
        live = {one.id for one in world.sessions.of(world.user.id)}
        assert len(world.invalidations.ended) == sum(one.ended for one in families)
        assert live.isdisjoint(world.invalidations.ended)


@pytest.mark.parametrize("tabs", [2, 20])
def test_tabs_that_refresh_at_once_get_one_and_the_same_successor(db: Database, keys: KeyRing, tabs: int) -> None:
    world = World(db, keys)
    family = world.begin()
    ready = threading.Barrier(tabs)

    def refresh(_: int) -> str:
        ready.wait()
        return world.sessions.refresh(family.tokens[0]).refresh_token

    with ThreadPoolExecutor(tabs) as threads:
        (shared,) = set(threads.map(refresh, range(tabs)))
    assert world.sessions.refresh(shared).refresh_token
    assert world.invalidations.ended == []


def test_a_thief_and_the_owner_who_share_a_successor_meet_at_the_next_refresh(db: Database, keys: KeyRing) -> None:
    world = World(db, keys)
    family = world.begin()
    owners = world.sessions.refresh(family.tokens[0]).refresh_token
    thiefs = world.sessions.refresh(family.tokens[0]).refresh_token
    # Both refresh when their access tokens expire, never within the same half minute but by chance.
    world.clock.at += timedelta(minutes=14)
    owners = world.sessions.refresh(owners).refresh_token
    world.clock.at += timedelta(seconds=31)
    with pytest.raises(RefreshTokenInvalid):
        world.sessions.refresh(thiefs)
    with pytest.raises(RefreshTokenInvalid):
        world.sessions.refresh(owners)
    assert len(world.invalidations.ended) == 1


def test_the_answer_to_a_tokens_last_second_can_be_asked_for_again(db: Database, keys: KeyRing) -> None:
    world = World(db, keys)
    family = world.begin()
    world.clock.at += timedelta(days=30) - timedelta(seconds=1)
    fresh = world.sessions.refresh(family.tokens[0]).refresh_token
    world.clock.at += timedelta(seconds=29)
    assert world.sessions.refresh(family.tokens[0]).refresh_token == fresh


def test_the_database_gives_no_token_away(db: Database, keys: KeyRing) -> None:
    world = World(db, keys)
    family = world.begin()
    world.refresh(family, 0)
    (row,) = db.all(_SESSIONS)
    kept = {value for value in row if isinstance(value, bytes)}
    assert len(kept) == 2
    assert successor("", row.successor_salt) != family.tokens[1]
    assert not kept & {token.encode() for token in family.tokens}
    # The next rotation forgets what this successor was derived with.
    world.refresh(family, 1)
    assert db.all(_SESSIONS)[0].successor_salt != row.successor_salt


def test_a_session_that_is_not_used_for_thirty_days_is_over(db: Database, keys: KeyRing) -> None:
    world = World(db, keys)
    family = world.begin()
    world.clock.at += timedelta(days=29)
    world.refresh(family, 0)
    world.clock.at += timedelta(days=29)
    assert len(world.sessions.of(world.user.id)) == 1
    world.refresh(family, 1)
    world.clock.at += timedelta(days=30)
    assert world.sessions.of(world.user.id) == []
    with pytest.raises(RefreshTokenInvalid):
        world.sessions.refresh(family.tokens[2])


@pytest.mark.parametrize("token", ["", "nonsense", "a\0b", "x" * 512])
def test_an_unknown_token_tells_nothing(db: Database, keys: KeyRing, token: str) -> None:
    with pytest.raises(RefreshTokenInvalid):
        World(db, keys).sessions.refresh(token)
