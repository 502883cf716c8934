"""Outbox, inbox and idempotency: no event is lost, and nothing is executed twice."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from adplatform.auth.v1.auth_pb2 import LogInRequest, User
from adplatform.events.v1.events_pb2 import Event, PublisherApproved
from sqlalchemy import text

from adlib import inbox
from adlib.bus import RedisBus, Subscription
from adlib.clock import FixedClock, SystemClock
from adlib.db import Database, Query, migrate
from adlib.idempotency import Idempotency, KeyInvalid, KeyReused
from adlib.outbox import Outbox, Relay
from adlib.service import connect_redis
from adtesting.pytest_servers import FreshDatabase


def prepare(url: str) -> None:
    migrate(url, ("adlib", "migrations/outbox"), ("adlib", "migrations/inbox"), ("adlib", "migrations/idempotency"))


@pytest.fixture
def db(fresh_database: FreshDatabase) -> Database:
    return Database(fresh_database("outbox", prepare))


def test_event_is_published_after_its_transaction_commits(db: Database, redis_url: str) -> None:
    bus = RedisBus(connect_redis(redis_url))
    topic = f"publisher-{uuid4().hex}"
    outbox = Outbox(topic, FixedClock(datetime(2026, 1, 2, tzinfo=UTC)))
    relay = Relay(db, bus, outbox)
    organization = uuid4()
    with pytest.raises(ZeroDivisionError), db.transaction() as tx:
        outbox.append(tx, organization, PublisherApproved(publisher_id="rolled back"))
        _ = 1 // 0
    with db.transaction() as tx:
        outbox.append(tx, organization, PublisherApproved(publisher_id="1"))
        outbox.append(tx, organization, PublisherApproved(publisher_id="2"))
    assert relay.publish_batch() == 2
    assert relay.publish_batch() == 0
    events = [Event.FromString(one.payload) for one in bus.subscribe(topic, "g", "r").receive(10, 10)]
    assert [event.publisher_approved.publisher_id for event in events] == ["1", "2"]
    assert {event.organization_id for event in events} == {str(organization)}
    assert len({event.id for event in events}) == 2


class Overtaken:
    """A bus that starts another relay before it stores a message."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.other = threading.Thread()

    def publish(self, _topic: str, payloads: Sequence[bytes]) -> None:
        if not self.taken:
            self.taken += payloads
            self.other.start()
            self.other.join(0.3)
        else:
            self.taken += payloads

    def subscribe(self, _topic: str, _group: str, _reader: str) -> Subscription:
        raise AssertionError("a relay only publishes")


def test_two_relays_do_not_publish_the_same_event(db: Database) -> None:
    outbox, bus = Outbox("publisher", SystemClock()), Overtaken()
    with db.transaction() as tx:
        outbox.append_message(tx, PublisherApproved(publisher_id="1"))
    bus.other = threading.Thread(target=Relay(db, bus, outbox).publish_batch)
    Relay(db, bus, outbox).publish_batch()
    bus.other.join()
    assert len(bus.taken) == 1


def test_event_is_claimed_once(db: Database) -> None:
    event_id = uuid4()
    with db.transaction() as tx:
        assert inbox.claim_event(tx, "projection", event_id, "5 USD")
    with db.transaction() as tx:
        assert not inbox.claim_event(tx, "projection", event_id, "5 USD")
        assert inbox.claim_event(tx, "another", event_id, "5 USD")


def test_event_with_a_reused_id_is_refused(db: Database) -> None:
    event_id = uuid4()
    with db.transaction() as tx:
        inbox.claim_event(tx, "projection", event_id, "5 USD")
    with pytest.raises(inbox.EventReused, match=str(event_id)), db.transaction() as tx:
        inbox.claim_event(tx, "projection", event_id, "6 USD")


def test_event_handled_by_an_earlier_release_is_a_repeat(db: Database) -> None:
    event_id = uuid4()
    with db.transaction() as tx:
        tx.execute(Query(text(f"INSERT INTO inbox (consumer, event_id) VALUES ('projection', '{event_id}')")))  # noqa: S608 - an id of ours
        assert not inbox.claim_event(tx, "projection", event_id, "5 USD")


def idempotency(key: str, password: str = "a") -> Idempotency[str, User]:
    request = LogInRequest(email="ada@example.com", password=password)
    return Idempotency(ORGANIZATION, "Create", key, request, lambda name: User(name=name), User)


ORGANIZATION = uuid4()


def test_repeated_request_gets_the_stored_answer(db: Database) -> None:
    with db.transaction() as tx:
        assert idempotency("k").replay(tx) is None
        idempotency("k").record(tx, "first")
    with db.transaction() as tx:
        assert idempotency("k").replay(tx) == User(name="first")


def test_idempotency_key_with_another_body_is_refused(db: Database) -> None:
    with db.transaction() as tx:
        idempotency("k").replay(tx)
        idempotency("k").record(tx, "first")
    with pytest.raises(KeyReused), db.transaction() as tx:
        idempotency("k", password="b").replay(tx)


@pytest.mark.parametrize("key", ["x" * 256, "tab\t", "é"])
def test_invalid_idempotency_key_is_refused(key: str) -> None:
    with pytest.raises(KeyInvalid):
        idempotency(key)


def test_concurrent_calls_with_one_key_execute_once(db: Database) -> None:
    done: list[str] = []
    barrier = threading.Barrier(2)

    def work(name: str) -> None:
        barrier.wait()
        with db.transaction() as tx:
            if idempotency("k").replay(tx) is None:
                done.append(name)
                idempotency("k").record(tx, name)

    threads = [threading.Thread(target=work, args=[name]) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1
