"""The bus on Redis streams: a stream a topic, a consumer group a group."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis

from adlib.bus.protocol import Delivery
from adlib.errors import Unavailable
from adlib.telemetry import logger

_FIELD = b"m"
# Of dead letters, the newest so many are kept, for so long: people look into them.
MAX_DEAD_LETTERS = 10_000
DEAD_LETTER_RETENTION_MS = 30 * 24 * 3_600_000
# A topic without subscribers is kept this long, for a group that is yet to be made.
UNREAD_RETENTION_MS = 7 * 24 * 3_600_000
# A live reader asks every few seconds; a name that has not asked for a day is that of a process that is gone.
_READER_GONE_MS = 24 * 3_600_000
_TRIM_UNREAD_EVERY_S = 60.0
# In one step, since a reader that came back in between would lose what it was given.
_FORGET_READERS = """
local forgotten = 0
for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local reader = {}
    for place = 1, #fields, 2 do reader[fields[place]] = fields[place + 1] end
    if reader['pending'] == 0 and reader['idle'] >= tonumber(ARGV[2]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], reader['name'])
        forgotten = forgotten + 1
    end
end
return forgotten
"""
_log = logger(__name__)


def stream(topic: str) -> str:
    """The key of a topic's stream."""
    return f"bus:{topic}"


def dead_letters(topic: str) -> str:
    """The key of the stream with messages of a topic that nobody could handle."""
    return f"bus:{topic}:dead"


@dataclass(frozen=True, slots=True)
class _Policy:
    """When a message counts as stuck, how often it is tried, and how long it is kept at least."""

    claim_after_ms: int
    max_deliveries: int
    retention_ms: int
    remove_consumer_after_ms: int


class RedisBus:
    """Publishes with XADD. A message stays until every group has acknowledged it."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        claim_after_ms: int = 10_000,
        max_deliveries: int = 10,
        retention_ms: int = 600_000,
        remove_consumer_after_ms: int = _READER_GONE_MS,
    ) -> None:
        """What every group is done with is kept for `retention_ms` more, for groups that are only just being made."""
        self._client = client
        self._policy = _Policy(claim_after_ms, max_deliveries, retention_ms, remove_consumer_after_ms)
        self._trimmed_at_s: dict[str, float] = {}

    def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Stores the messages; they are durable when this returns. UNAVAILABLE."""
        with _translated():
            pipeline = self._client.pipeline(transaction=False)
            for payload in payloads:
                pipeline.xadd(stream(topic), {_FIELD: payload})
            pipeline.execute()
            self._trim_unread(topic)

    def _trim_unread(self, topic: str) -> None:
        """Lets go of old messages of a topic without any group: no reader trims it. Looks once a minute."""
        now_s = time.monotonic()
        if now_s - self._trimmed_at_s.get(topic, -_TRIM_UNREAD_EVERY_S) < _TRIM_UNREAD_EVERY_S:
            return
        self._trimmed_at_s[topic] = now_s
        if not self._client.xinfo_groups(stream(topic)):
            self._client.xtrim(stream(topic), minid=_id_before(UNREAD_RETENTION_MS), approximate=True)

    def subscribe(self, topic: str, group: str, reader: str) -> "RedisSubscription":
        """A reader's place in a group; a new group begins with the oldest message that is kept."""
        return RedisSubscription(self._client, topic, group, reader, self._policy)


class RedisSubscription:
    """A reader in a consumer group."""

    def __init__(self, client: redis.Redis, topic: str, group: str, reader: str, policy: _Policy) -> None:
        self._client = client
        self._topic = topic
        self._stream = stream(topic)
        self._group = group
        self._reader = reader
        self._policy = policy
        self._joined = False

    def receive(self, limit: int, wait_ms: int) -> Sequence[Delivery]:
        """Stuck messages first, then new ones; waits up to `wait_ms` for one."""
        with _translated():
            try:
                self._join()
                return self._claim_stuck(limit) or self._read_new(limit, wait_ms)
            except redis.ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                self._joined = False
                return []

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledges, and lets go of what every group has acknowledged."""
        if not deliveries:
            return
        with _translated():
            self._client.xack(self._stream, self._group, *(delivery.id for delivery in deliveries))
            self._trim()

    def _join(self) -> None:
        if self._joined:
            return
        try:
            self._client.xgroup_create(self._stream, self._group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        forgotten = self._client.eval(
            _FORGET_READERS, 1, self._stream, self._group, str(self._policy.remove_consumer_after_ms)
        )
        if forgotten:
            _log.info("readers_forgotten", topic=self._topic, group=self._group, readers=forgotten)
        self._joined = True

    def _read_new(self, limit: int, wait_ms: int) -> Sequence[Delivery]:
        answer: Any = self._client.xreadgroup(
            self._group, self._reader, {self._stream: ">"}, count=limit, block=wait_ms
        )
        if not answer:
            return []
        (_, entries), *_ = answer.items() if isinstance(answer, dict) else answer
        if isinstance(answer, dict):
            entries = entries[0]
        return [_delivery(entry) for entry in entries]

    def _claim_stuck(self, limit: int) -> Sequence[Delivery]:
        """Takes over what a reader received and did not acknowledge, for instance because it died."""
        pending: Any = self._client.xpending_range(
            self._stream, self._group, min="-", max="+", count=limit, idle=self._policy.claim_after_ms
        )
        if not pending:
            return []
        for entry in pending:
            if entry["times_delivered"] >= self._policy.max_deliveries:
                self._bury(entry["message_id"])
        claimed: Any = self._client.xautoclaim(
            self._stream, self._group, self._reader, min_idle_time=self._policy.claim_after_ms, count=limit
        )
        return [_delivery(entry) for entry in claimed[1] if entry[1]]

    def _bury(self, id: bytes) -> None:
        entries: Any = self._client.xrange(self._stream, min=id, max=id)
        pipeline = self._client.pipeline(transaction=True)
        dead = dead_letters(self._topic)
        for _, fields in entries:
            pipeline.xadd(dead, fields | {b"group": self._group.encode()}, maxlen=MAX_DEAD_LETTERS, approximate=True)
            pipeline.xtrim(dead, minid=_id_before(DEAD_LETTER_RETENTION_MS), approximate=True)
            # The last of them, which no later one would trim.
            pipeline.pexpire(dead, DEAD_LETTER_RETENTION_MS)
        pipeline.xack(self._stream, self._group, id)
        pipeline.execute()
        _log.error("message_dead", topic=self._topic, group=self._group, message=id.decode())

    def _trim(self) -> None:
        """Lets go of messages below the oldest that any group still needs, and not before their time."""
        needed = [_id_before(self._policy.retention_ms).encode()]
        groups: Any = self._client.xinfo_groups(self._stream)
        for group in groups:
            pending: Any = self._client.xpending(self._stream, group["name"]) if group["pending"] else {}
            # The group may have acknowledged the last of them since; what it was given before is done with then.
            needed.append(pending.get("min") or group["last-delivered-id"])
        oldest = min(needed, key=lambda id: tuple(int(part) for part in id.split(b"-")))
        self._client.xtrim(self._stream, minid=oldest.decode(), approximate=True)


def _id_before(age_ms: int) -> str:
    """The id of a message of that age."""
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
        # A pipeline puts the command before it, with what was published.
        reason = str(error).rpartition("of pipeline caused error: ")[2]
        if not (isinstance(error, redis.ReadOnlyError | redis.OutOfMemoryError) or reason.startswith("MISCONF")):
            raise
        # Its disk or memory is full, or it is a replica that has not taken over yet.
        _log.error("bus_cannot_store", error=reason)
        raise Unavailable("the event bus cannot store anything right now; try again later") from error
