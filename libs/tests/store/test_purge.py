"""What is only remembered against repeats is forgotten in time."""

from datetime import timedelta
from uuid import uuid4

import pytest
from adplatform.auth.v1.auth_pb2 import LogInRequest, User

from adctl.pytest_servers import FreshDatabase
from adlib import idempotency, inbox
from adlib.clock import SystemClock
from adlib.db import Database, migrate
from adlib.idempotency import Once


def prepare(url: str) -> None:
    migrate(url, ("adlib", "migrations/inbox"), ("adlib", "migrations/idempotency"))


@pytest.fixture
def db(fresh_database: FreshDatabase) -> Database:
    return Database(fresh_database("purge", prepare))


def test_old_events_are_forgotten_up_to_the_limit(db: Database) -> None:
    event_id = uuid4()
    now = SystemClock().now()
    with db.transaction() as tx:
        for consumer in ("a", "b", "c"):
            inbox.first_time(tx, consumer, event_id, "")
    with db.transaction() as tx:
        assert inbox.purge(tx, now - timedelta(minutes=1), 2) == 0
        assert [inbox.purge(tx, now + timedelta(minutes=1), 2) for _ in range(3)] == [2, 1, 0]
        assert inbox.first_time(tx, "a", event_id, "")


def test_old_keys_are_forgotten_up_to_the_limit(db: Database) -> None:
    organization_id, request = uuid4(), LogInRequest(email="a")
    now = SystemClock().now()

    def once(key: str) -> Once[str, User]:
        return Once(organization_id, "Make", key, request, lambda name: User(name=name), User)

    with db.transaction() as tx:
        for key in ("1", "2", "3"):
            once(key).replay(tx)
            once(key).record(tx, "Ada")
    with db.transaction() as tx:
        assert idempotency.purge(tx, now - timedelta(minutes=1), 2) == 0
        assert once("1").replay(tx) == User(name="Ada")
        assert [idempotency.purge(tx, now + timedelta(minutes=1), 2) for _ in range(3)] == [2, 1, 0]
        assert once("1").replay(tx) is None
