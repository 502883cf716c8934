"""Group commit: what arrives at the same moment is stored in one round trip, and each waits for its batch."""

import asyncio
from collections.abc import Iterable

import redis.asyncio
from prometheus_client import Counter, Histogram
from redis.exceptions import RedisError

from adlib.breaker import CircuitBreaker, CircuitOpen
from adlib.bus.redis_streams import stream
from adlib.errors import Unavailable
from adlib.redis_clients import NO_ANSWER_ERRORS
from adlib.telemetry import logger

# One command and one answer a batch: reading an answer a message would cost more than all the rest.
_APPEND = "for i = 1, #ARGV do redis.call('XADD', KEYS[1], '*', 'm', ARGV[i]) end"

_refused = Counter("collector_refused_total", "Tracking requests that could not be stored", ["reason"])
_batches = Histogram(
    "collector_batch_messages", "Messages stored in one round trip", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
)
_log = logger(__name__)


class GroupCommit:
    """Appends to a topic of the bus.

    While one batch is under way the next one gathers, so the busier it is, the fewer round trips a message costs. Where
    a batch is not answered, what comes next is refused at once, until one that tries is.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        topic: str,
        *,
        waiting: int = 20_000,
        batch: int = 500,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self._client = client
        self._breaker = breaker or CircuitBreaker("redis-collector", failures=1)
        self._stream = stream(topic)
        self._limit = waiting
        self._batch = batch
        self._gathered: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def append(self, message: bytes) -> None:
        """Returns once the message is stored; UNAVAILABLE where it cannot be, or too many wait already."""
        if self._breaker.is_refusing():
            _refused.labels("bus_down").inc()
            raise _not_stored()
        if len(self._gathered) >= self._limit:
            _refused.labels("overloaded").inc()
            raise Unavailable("too many requests wait to be stored; try again")
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[None] = loop.create_future()
        self._gathered.append((message, stored))
        if self._writing is None:
            self._writing = loop.create_task(self._write())
        await stored

    async def _write(self) -> None:
        while self._gathered:
            batch, self._gathered = self._gathered[: self._batch], self._gathered[self._batch :]
            try:
                with self._breaker.attempt(*NO_ANSWER_ERRORS):
                    await self._client.eval(_APPEND, 1, self._stream, *(message for message, _ in batch))
            except (RedisError, OSError, CircuitOpen) as error:
                _log.warning("collector_cannot_store", messages=len(batch), error=str(error))
                _refused.labels("bus_down").inc(len(batch))
                _end(batch, _not_stored())
            except BaseException as error:
                _end(batch, error)
                raise
            else:
                _batches.observe(len(batch))
                _end(batch)
        self._writing = None


def _not_stored() -> Unavailable:
    return Unavailable("what was reported could not be stored; try again")


def _end(batch: Iterable[tuple[bytes, "asyncio.Future[None]"]], error: BaseException | None = None) -> None:
    for _, stored in batch:
        # One whose client went away is cancelled already.
        if not stored.done():
            if error is None:
                stored.set_result(None)
            else:
                stored.set_exception(error)
