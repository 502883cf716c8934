"""Redis clients: one with long timeouts for background work, and one for calls, behind a circuit breaker."""

from functools import partial
from typing import Any

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.client import Pipeline
from redis.retry import Retry

from adlib.breaker import CircuitBreaker, CircuitOpen

# Two calls wait this long for a frozen Redis; then the circuit breaker is open.
_CALL_TIMEOUT_S = 0.4
_CONNECT_TIMEOUT_S = 0.25
# With other errors Redis has answered.
NO_ANSWER_ERRORS = (redis.ConnectionError, redis.TimeoutError, OSError)


class RedisCircuitOpen(redis.ConnectionError):
    """The circuit breaker is open: Redis did not answer the last calls."""

    def __init__(self) -> None:
        super().__init__("Redis did not answer the last calls")


class GuardedRedis(redis.Redis):
    """Sends every command through a circuit breaker; raises RedisCircuitOpen while that is open."""

    def __init__(self, pool: redis.ConnectionPool, breaker: CircuitBreaker) -> None:
        """The client owns the pool and closes it."""
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self.breaker = breaker
        # In the background, because a caller that made the attempt would wait for the timeout.
        breaker.probe = partial(super().execute_command, "PING")

    def close(self) -> None:
        """Stops the probe and closes the connections."""
        self.breaker.stop()
        super().close()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Executes a command through the circuit breaker."""
        try:
            with self.breaker.attempt(*NO_ANSWER_ERRORS):
                return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py leaves it so
        except CircuitOpen:
            raise RedisCircuitOpen from None

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> "_GuardedPipeline":
        """A pipeline that goes through the same circuit breaker."""
        pipeline = _GuardedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipeline.breaker = self.breaker
        return pipeline


class _GuardedPipeline(Pipeline):
    breaker: CircuitBreaker

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        try:
            with self.breaker.attempt(*NO_ANSWER_ERRORS):
                answers: list[Any] = super().execute(raise_on_error)
                return answers
        except CircuitOpen:
            raise RedisCircuitOpen from None


def connect_redis(url: str) -> redis.Redis:
    """A client for background work: commands time out after 2 s; broken connections are replaced."""
    client: redis.Redis = redis.Redis.from_url(
        url,
        socket_timeout=2.0,
        socket_connect_timeout=0.5,
        health_check_interval=15,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), 2),
    )
    return client


def connect_redis_for_calls(url: str, breaker: CircuitBreaker | None = None) -> GuardedRedis:
    """A client for calls: commands time out after 0.4 s and go through a circuit breaker, by default its own.

    A broken connection is replaced once per command; a command that timed out is not repeated.
    """
    pool = redis.ConnectionPool.from_url(
        url,
        socket_timeout=_CALL_TIMEOUT_S,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )
    return GuardedRedis(pool, breaker or CircuitBreaker("redis"))
