"""Refresh tokens: whatever is done with them, in whatever order, one that was used twice ends its session alone."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adlib.clock import FixedClock
from adlib.db import Database, Transaction
from adlib.ids import new_id
from adlib.outbox import Outbox
from auth_service.accounts import store as accounts
from auth_service.accounts.model import User
from auth_service.sessions.keys import KeyRing
from auth_service.sessions.model import Client, RefreshTokenInvalid
from auth_service.sessions.service import SessionService

START = datetime(2026, 1, 2, tzinfo=UTC)


class FakeMarks:
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
    """A session as it should be: when each of its tokens was handed out, and which of them were used."""

    tokens: list[str]
    issued: list[datetime]
    used: set[int] = field(default_factory=set)
    ended: bool = False


class World:
    def __init__(self, db: Database, keys: KeyRing) -> None:
        self.clock = FixedClock(START)
        self.marks = FakeMarks()
        self.sessions = SessionService(db, Outbox("auth", self.clock), keys, self.marks, self.clock, new_id)
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
        works = not family.ended and index not in family.used and now - family.issued[index] < timedelta(days=30)
        try:
            fresh = self.sessions.refresh(family.tokens[index]).refresh_token
        except RefreshTokenInvalid:
            assert not works
            # A token that is too old is forgotten sooner or later; one that was used before that ends the session.
            if index in family.used and now - family.issued[index] < timedelta(days=30):
                family.ended = True
        else:
            assert works
            family.used.add(index)
            family.tokens.append(fresh)
            family.issued.append(now)


steps = st.lists(
    st.tuples(st.sampled_from(["newest", "newest", "any", "days"]), st.integers(0, 1), st.integers(0, 20)), max_size=15
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_a_used_token_ends_its_family_and_no_other(
    db: Database, keys: KeyRing, steps: list[tuple[str, int, int]]
) -> None:
    world = World(db, keys)
    families = [world.begin(), world.begin()]
    for what, which, number in steps:
        family = families[which]
        if what == "days":
            # Never near the thirty days of one of the tokens: when an old one is forgotten does not matter.
            world.clock.at += timedelta(days=number % 12, hours=1)
        else:
            world.refresh(family, len(family.tokens) - 1 if what == "newest" else number % len(family.tokens))
        live = {one.id for one in world.sessions.of(world.user.id)}
        assert len(world.marks.ended) == sum(one.ended for one in families)
        assert live.isdisjoint(world.marks.ended)


def test_of_those_who_use_a_token_at_the_same_time_one_at_most_gets_tokens_and_nobody_keeps_them(
    db: Database, keys: KeyRing
) -> None:
    world = World(db, keys)
    family = world.begin()
    ready = threading.Barrier(4)

    def refresh(_: int) -> str | None:
        ready.wait()
        try:
            return world.sessions.refresh(family.tokens[0]).refresh_token
        except RefreshTokenInvalid:
            return None

    with ThreadPoolExecutor(4) as threads:
        got = [token for token in threads.map(refresh, range(4)) if token]
    assert len(got) == 1
    with pytest.raises(RefreshTokenInvalid):
        world.sessions.refresh(got[0])
    assert len(world.marks.ended) == 1


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
