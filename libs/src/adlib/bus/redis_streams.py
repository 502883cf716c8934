"""The event bus on Redis streams: one stream per topic, one consumer group per group."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from typing_extensions import override

from adlib.bus.protocol import Bus, Delivery, Subscription
from adlib.errors import Unavailable
from adlib.telemetry import logger

_FIELD = b"m"
# Per topic, for operators.
MAX_DEAD_LETTERS = 10_000
DEAD_LETTER_RETENTION_MS = 30 * 24 * 3_600_000
# For a topic without groups, so that a group created later still gets its messages.
UNREAD_RETENTION_MS = 7 * 24 * 3_600_000
# A live consumer reads every few seconds, so one that has been idle for a day belongs to a process that has ended.
_REMOVE_CONSUMER_AFTER_MS = 24 * 3_600_000
_TRIM_UNREAD_INTERVAL_S = 60.0
# One script, so that it cannot delete a consumer that has received a message since it was listed.
_REMOVE_IDLE_CONSUMERS = """
local removed = 0
for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local consumer = {}
    for index = 1, #fields, 2 do consumer[fields[index]] = fields[index + 1] end
    if consumer['pending'] == 0 and consumer['idle'] >= tonumber(ARGV[2]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer['name'])
        removed = removed + 1
    end
end
return removed
"""
_log = logger(__name__)


def stream(topic: str) -> str:
    """The key of a topic's stream."""
    return f"bus:{topic}"


def dead_letters(topic: str) -> str:
    """The key of the stream with the messages of a topic that exceeded their delivery attempts."""
    return f"bus:{topic}:dead"


@dataclass(frozen=True, slots=True)
class _Policy:
    """The limits of a bus; `RedisBus.__init__` describes them."""

    claim_after_ms: int
    max_deliveries: int
    retention_ms: int
    remove_consumer_after_ms: int


class RedisBus(Bus):
    """Publishes with XADD; a message is stored until every group has acknowledged it."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        claim_after_ms: int = 10_000,
        max_deliveries: int = 10,
        retention_ms: int = 600_000,
        remove_consumer_after_ms: int = _REMOVE_CONSUMER_AFTER_MS,
    ) -> None:
        """A message that is unacknowledged for `claim_after_ms` is delivered to another consumer, and after
        `max_deliveries` becomes a dead letter. Acknowledged messages are stored for `retention_ms`, so that a group
        that is created at the same time does not miss them.
        """
        self._client = client
        self._policy = _Policy(claim_after_ms, max_deliveries, retention_ms, remove_consumer_after_ms)
        self._trimmed_at_s: dict[str, float] = {}

    @override
    def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        with _translated():
            pipeline = self._client.pipeline(transaction=False)
            for payload in payloads:
                pipeline.xadd(stream(topic), {_FIELD: payload})
            pipeline.execute()
            self._trim_unread(topic)

    def _trim_unread(self, topic: str) -> None:
        """Deletes old messages of a topic without groups, which no consumer trims; at most once a minute."""
        now_s = time.monotonic()
        if now_s - self._trimmed_at_s.get(topic, -_TRIM_UNREAD_INTERVAL_S) < _TRIM_UNREAD_INTERVAL_S:
            return
        self._trimmed_at_s[topic] = now_s
        if not self._client.xinfo_groups(stream(topic)):
            self._client.xtrim(stream(topic), minid=_id_before(UNREAD_RETENTION_MS), approximate=True)

    @override
    def subscribe(self, topic: str, group: str, consumer: str) -> "RedisSubscription":
        return RedisSubscription(self._client, topic, group, consumer, self._policy)


class RedisSubscription(Subscription):
    """A consumer in a consumer group of a stream."""

    def __init__(self, client: redis.Redis, topic: str, group: str, consumer: str, policy: _Policy) -> None:
        self._client = client
        self._topic = topic
        self._stream = stream(topic)
        self._group = group
        self._consumer = consumer
        self._policy = policy
        self._has_joined = False

    @override
    def receive(self, limit: int, wait_ms: int) -> Sequence[Delivery]:
        with _translated():
            try:
                self._join()
                return self._claim_pending(limit) or self._read_new(limit, wait_ms)
            except redis.ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                self._has_joined = False
                return []

    @override
    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        with _translated():
            self._client.xack(self._stream, self._group, *(delivery.id for delivery in deliveries))
            self._trim()

    def _join(self) -> None:
        if self._has_joined:
            return
        try:
            self._client.xgroup_create(self._stream, self._group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        removed = self._client.eval(
            _REMOVE_IDLE_CONSUMERS, 1, self._stream, self._group, str(self._policy.remove_consumer_after_ms)
        )
        if removed:
            _log.info("idle_consumers_removed", topic=self._topic, group=self._group, consumers=removed)
        self._has_joined = True

    def _read_new(self, limit: int, wait_ms: int) -> Sequence[Delivery]:
        answer: Any = self._client.xreadgroup(
            self._group, self._consumer, {self._stream: ">"}, count=limit, block=wait_ms
        )
        if not answer:
            return []
        (_, entries), *_ = answer.items() if isinstance(answer, dict) else answer
        if isinstance(answer, dict):
            entries = entries[0]
        return [_delivery(entry) for entry in entries]

    def _claim_pending(self, limit: int) -> Sequence[Delivery]:
        """Claims messages that a consumer received and did not acknowledge, for instance because it died."""
        pending: Any = self._client.xpending_range(
            self._stream, self._group, min="-", max="+", count=limit, idle=self._policy.claim_after_ms
        )
        if not pending:
            return []
        for entry in pending:
            if entry["times_delivered"] >= self._policy.max_deliveries:
                self._move_to_dead_letters(entry["message_id"])
        claimed: Any = self._client.xautoclaim(
            self._stream, self._group, self._consumer, min_idle_time=self._policy.claim_after_ms, count=limit
        )
        return [_delivery(entry) for entry in claimed[1] if entry[1]]

    def _move_to_dead_letters(self, id: bytes) -> None:
        entries: Any = self._client.xrange(self._stream, min=id, max=id)
        pipeline = self._client.pipeline(transaction=True)
        dead = dead_letters(self._topic)
        for _, fields in entries:
            pipeline.xadd(dead, fields | {b"group": self._group.encode()}, maxlen=MAX_DEAD_LETTERS, approximate=True)
            pipeline.xtrim(dead, minid=_id_before(DEAD_LETTER_RETENTION_MS), approximate=True)
            # Deletes also the last dead letter, which no later dead letter trims.
            pipeline.pexpire(dead, DEAD_LETTER_RETENTION_MS)
        pipeline.xack(self._stream, self._group, id)
        pipeline.execute()
        _log.error("message_dead_lettered", topic=self._topic, group=self._group, message=id.decode())

    def _trim(self) -> None:
        """Deletes messages older than the retention that every group has acknowledged."""
        needed = [_id_before(self._policy.retention_ms).encode()]
        groups: Any = self._client.xinfo_groups(self._stream)
        for group in groups:
            pending: Any = self._client.xpending(self._stream, group["name"]) if group["pending"] else {}
            # If the group has acknowledged its last pending message since, everything delivered to it is handled.
            needed.append(pending.get("min") or group["last-delivered-id"])
        oldest = min(needed, key=lambda id: tuple(int(part) for part in id.split(b"-")))
        self._client.xtrim(self._stream, minid=oldest.decode(), approximate=True)


def _id_before(age_ms: int) -> str:
    """The id of a message of this age."""
    return f"{int(time.time() * 1000) - age_ms}-0"


def _delivery(entry: tuple[bytes, dict[bytes, bytes]]) -> Delivery:
    id, fields = entry
    return Delivery(id.decode(), fields[_FIELD])


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Unavailable("the event bus does not answer; try again") from error
    except redis.ResponseError as error:
        # The prefix that a pipeline adds contains the payload, which must not be logged.
        reason = str(error).rpartition("of pipeline caused error: ")[2]
        if not (isinstance(error, redis.ReadOnlyError | redis.OutOfMemoryError) or reason.startswith("MISCONF")):
            raise
        # The disk or the memory is full, or this is a replica that has not been promoted yet.
        _log.error("bus_cannot_store", error=reason)
        raise Unavailable("the event bus cannot store anything right now; try again later") from error
