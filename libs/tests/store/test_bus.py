"""The event bus: durable, at least once, and a failing message does not block the others."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from adlib.bus import Bus, Consumer, RedisBus
from adlib.bus.redis_streams import MAX_DEAD_LETTERS, dead_letters, stream
from adlib.errors import AppError, DeadlineExceeded, Unavailable
from adlib.service import connect_redis


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    with connect_redis(redis_url) as client:
        yield client


@pytest.fixture
def bus(client: Redis) -> Bus:
    return RedisBus(client, claim_after_ms=0, max_deliveries=3, retention_ms=0)


@pytest.fixture
def topic() -> str:
    return f"test-{uuid4().hex}"


def payloads(bus: Bus, topic: str, group: str, consumer: str = "one") -> list[bytes]:
    return [delivery.payload for delivery in bus.subscribe(topic, group, consumer).receive(100, 10)]


def test_every_group_receives_every_message_also_earlier_ones(bus: Bus, topic: str) -> None:
    bus.publish(topic, [b"1", b"2"])
    assert payloads(bus, topic, "a") == [b"1", b"2"]
    assert payloads(bus, topic, "b") == [b"1", b"2"]


def test_unacknowledged_message_of_a_dead_consumer_is_delivered_to_another(bus: Bus, topic: str) -> None:
    bus.publish(topic, [b"1"])
    assert payloads(bus, topic, "a", "dies") == [b"1"]
    assert payloads(bus, topic, "a", "lives") == [b"1"]


def test_acknowledged_message_is_not_delivered_again(bus: Bus, topic: str) -> None:
    bus.publish(topic, [b"1"])
    subscription = bus.subscribe(topic, "a", "one")
    subscription.acknowledge(subscription.receive(10, 10))
    assert payloads(bus, topic, "a") == []


def test_failing_message_becomes_a_dead_letter_and_does_not_block_others(bus: Bus, client: Redis, topic: str) -> None:
    handled: list[bytes] = []

    def handle(batch: Sequence[bytes]) -> None:
        if b"bad" in batch:
            raise ValueError("cannot read it")
        handled.extend(batch)

    bus.publish(topic, [b"1", b"bad", b"2"])
    consumer = Consumer(bus.subscribe(topic, "a", "one"), handle, wait_ms=10)
    for _ in range(5):
        consumer.run_once(10)
    assert handled == [b"1", b"2"]
    assert client.xlen(dead_letters(topic)) == 1
    assert client.xpending(stream(topic), "a")["pending"] == 0


@pytest.mark.parametrize("outage", [Unavailable, DeadlineExceeded])
def test_outage_of_a_dependency_does_not_count_as_delivery_attempts(
    bus: Bus, client: Redis, topic: str, outage: type[AppError]
) -> None:
    down = [True]
    handled: list[bytes] = []

    def handle(batch: Sequence[bytes]) -> None:
        if down[0]:
            raise outage("down")
        handled.extend(batch)

    bus.publish(topic, [b"1"])
    consumer = Consumer(bus.subscribe(topic, "a", "one"), handle, wait_ms=10)
    for _ in range(10):
        with pytest.raises(outage):
            consumer.run_once(10)
    down[0] = False
    consumer.run_once(10)
    assert handled == [b"1"]
    assert client.xlen(dead_letters(topic)) == 0


def test_message_is_deleted_after_all_groups_acknowledged_it(bus: Bus, client: Redis, topic: str) -> None:
    first, second = bus.subscribe(topic, "a", "one"), bus.subscribe(topic, "b", "one")
    first.receive(1, 10), second.receive(1, 10)
    bus.publish(topic, [b"x" * 100] * 500)
    first.acknowledge(first.receive(1000, 10))
    assert client.xlen(stream(topic)) == 500
    second.acknowledge(second.receive(1000, 10))
    assert client.xlen(stream(topic)) < 500


class Interleaved(Redis):
    """Calls a hook right before the bus reads the pending messages of a group."""

    before_pending: Callable[[], object] = staticmethod(lambda: None)

    def xpending(self, name: Any, groupname: Any) -> Any:
        self.before_pending()
        return super().xpending(name, groupname)


def test_groups_can_acknowledge_concurrently(bus: Bus, redis_url: str, topic: str) -> None:
    bus.publish(topic, [b"1"])
    other = bus.subscribe(topic, "b", "one")
    received = other.receive(10, 10)
    with Interleaved.from_url(redis_url) as client:
        subscription = RedisBus(client).subscribe(topic, "a", "one")
        deliveries = subscription.receive(10, 10)
        client.before_pending = lambda: other.acknowledge(received)
        subscription.acknowledge(deliveries)
        assert [client.xpending(stream(topic), group)["pending"] for group in ("a", "b")] == [0, 0]


def test_group_created_within_the_retention_receives_every_message(client: Redis, topic: str) -> None:
    bus = RedisBus(client)
    first = bus.subscribe(topic, "a", "one")
    bus.publish(topic, [b"x"] * 500)
    first.acknowledge(first.receive(1000, 10))
    assert len(bus.subscribe(topic, "late", "one").receive(1000, 10)) == 500


def test_idle_consumer_is_removed_unless_it_has_pending_messages(client: Redis, topic: str) -> None:
    def consumers() -> set[str]:
        return {consumer["name"].decode() for consumer in client.xinfo_consumers(stream(topic), "a")}

    bus = RedisBus(client, remove_consumer_after_ms=0)
    bus.publish(topic, [b"1", b"2"])
    gone, busy = bus.subscribe(topic, "a", "gone"), bus.subscribe(topic, "a", "busy")
    gone.acknowledge(gone.receive(1, 10))
    assert [one.payload for one in busy.receive(1, 10)] == [b"2"]
    RedisBus(client).subscribe(topic, "a", "lives").receive(1, 10)
    assert consumers() >= {"busy", "lives"}
    bus.subscribe(topic, "a", "new").receive(1, 10)
    assert consumers() == {"busy", "new"}
    assert client.xpending(stream(topic), "a")["pending"] == 1


def test_recently_active_consumer_is_not_removed(bus: Bus, client: Redis, topic: str) -> None:
    for consumer in ("one", "two"):
        payloads(bus, topic, "a", consumer)
        payloads(bus, topic, "a", consumer)
    assert {one["name"] for one in client.xinfo_consumers(stream(topic), "a")} == {b"one", b"two"}


def test_dead_letters_are_retained_for_30_days_and_limited_in_number(client: Redis, topic: str) -> None:
    month_ms = 30 * 24 * 3_600_000
    now_ms = int(client.time()[0]) * 1000
    pipeline = client.pipeline(transaction=False)
    for number in range(300):
        pipeline.xadd(dead_letters(topic), {b"m": b"old"}, id=f"{now_ms - month_ms - 60_000}-{number}")
    for number in range(MAX_DEAD_LETTERS + 500):
        pipeline.xadd(dead_letters(topic), {b"m": b"new"}, id=f"{now_ms - 60_000}-{number}")
    pipeline.execute()
    bus = RedisBus(client, claim_after_ms=0, max_deliveries=1)
    bus.publish(topic, [b"bad"])
    subscription = bus.subscribe(topic, "a", "one")
    subscription.receive(1, 10)
    subscription.receive(1, 10)
    kept: Any = client.xrange(dead_letters(topic))
    assert kept[-1][1] == {b"m": b"bad", b"group": b"a"}
    # Streams are trimmed by whole nodes of 100.
    assert MAX_DEAD_LETTERS <= len(kept) <= MAX_DEAD_LETTERS + 100
    assert month_ms - 60_000 < client.pttl(dead_letters(topic)) <= month_ms


def test_dead_letters_older_than_30_days_are_deleted(client: Redis, topic: str) -> None:
    old_ms = int(client.time()[0]) * 1000 - 31 * 24 * 3_600_000
    pipeline = client.pipeline(transaction=False)
    for number in range(300):
        pipeline.xadd(dead_letters(topic), {b"m": b"old"}, id=f"{old_ms}-{number}")
    pipeline.execute()
    bus = RedisBus(client, claim_after_ms=0, max_deliveries=1)
    bus.publish(topic, [b"bad"])
    subscription = bus.subscribe(topic, "a", "one")
    subscription.receive(1, 10)
    subscription.receive(1, 10)
    assert 1 <= client.xlen(dead_letters(topic)) <= 100


def test_topic_without_groups_retains_messages_for_a_week(client: Redis, topic: str) -> None:
    old_ms = int(client.time()[0]) * 1000 - 8 * 24 * 3_600_000
    pipeline = client.pipeline(transaction=False)
    for number in range(300):
        pipeline.xadd(stream(topic), {b"m": b"old"}, id=f"{old_ms}-{number}")
    pipeline.execute()
    RedisBus(client).publish(topic, [b"new"])
    assert client.xlen(stream(topic)) <= 100
    newest: Any = client.xrevrange(stream(topic), count=1)
    assert newest[0][1] == {b"m": b"new"}


def test_unreachable_bus_is_unavailable() -> None:
    with connect_redis("redis://127.0.0.1:1/0") as unreachable, pytest.raises(Unavailable):
        RedisBus(unreachable).publish("topic", [b"1"])
