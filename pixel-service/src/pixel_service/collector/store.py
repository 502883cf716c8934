"""Durable storage of messages in the event bus, by group commit."""

import asyncio
from collections.abc import Iterable

import redis.asyncio
from prometheus_client import Counter, Histogram
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from adlib.breaker import CircuitBreaker, CircuitOpen
from adlib.bus.redis_streams import stream
from adlib.errors import Unavailable
from adlib.redis_clients import NO_ANSWER_ERRORS
from adlib.telemetry import logger

# One command and one reply per batch: reading a reply per message would take longer than everything else.
_APPEND = "for i = 1, #ARGV do redis.call('XADD', KEYS[1], '*', 'm', ARGV[i]) end"

_refused = Counter("collector_refused_total", "Tracking requests that could not be stored", ["reason"])
_batches = Histogram(
    "collector_batch_messages", "Messages stored in one round trip", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
)
_log = logger(__name__)


def connect(url: str) -> redis.asyncio.Redis:
    """A client that retries once after a lost connection: a message that is stored twice has the same id.

    A time-out is not retried. It is longer than that of reads, because a message that is refused but stored is
    miscounted.
    """
    client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
        url,
        socket_timeout=1.0,
        socket_connect_timeout=0.5,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )
    return client


class GroupCommit:
    """Appends to a topic of the bus, many messages per round trip.

    The next batch fills while the previous one is written, so round trips per message fall as load rises. After a batch
    without a reply, messages are refused at once until a trial batch succeeds.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        topic: str,
        *,
        max_waiting: int = 20_000,
        batch: int = 500,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self._client = client
        self._breaker = breaker or CircuitBreaker("redis-collector", failures=1)
        self._stream = stream(topic)
        self._max_waiting = max_waiting
        self._batch = batch
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def append(self, message: bytes) -> None:
        """Returns once the message is stored; UNAVAILABLE if that fails or too many messages wait."""
        if self._breaker.is_refusing():
            _refused.labels("bus_down").inc()
            raise _not_stored()
        if len(self._waiting) >= self._max_waiting:
            _refused.labels("overloaded").inc()
            raise Unavailable("too many requests wait to be stored; try again")
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[None] = loop.create_future()
        self._waiting.append((message, stored))
        if self._writing is None:
            self._writing = loop.create_task(self._write())
        await stored

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
            try:
                with self._breaker.attempt(*NO_ANSWER_ERRORS):
                    await self._client.eval(_APPEND, 1, self._stream, *(message for message, _ in batch))
            except (RedisError, OSError, CircuitOpen) as error:
                _log.warning("collector_cannot_store", messages=len(batch), error=str(error))
                _refused.labels("bus_down").inc(len(batch))
                _resolve(batch, _not_stored())
            except BaseException as error:
                _resolve(batch, error)
                raise
            else:
                _batches.observe(len(batch))
                _resolve(batch)
        self._writing = None


def _not_stored() -> Unavailable:
    return Unavailable("what was reported could not be stored; try again")


def _resolve(batch: Iterable[tuple[bytes, "asyncio.Future[None]"]], error: BaseException | None = None) -> None:
    for _, stored in batch:
        # The future of a disconnected client is cancelled already.
        if not stored.done():
            if error is None:
                stored.set_result(None)
            else:
                stored.set_exception(error)
