"""Clients of Redis: a patient one for work in the background, and one for calls, which must not wait."""

from functools import partial
from typing import Any

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.client import Pipeline
from redis.retry import Retry

from adlib.breaker import CircuitBreaker, CircuitOpen

# Twice this is what the first calls wait for a Redis that is frozen; the next ones do not ask it.
_CALL_TIMEOUT_S = 0.4
_CONNECT_TIMEOUT_S = 0.25
# Of a command that fails otherwise, Redis itself says why.
NO_ANSWER_ERRORS = (redis.ConnectionError, redis.TimeoutError, OSError)


class RedisCircuitOpen(redis.ConnectionError):
    """Redis has not answered the last calls, so this one does not wait for it."""

    def __init__(self) -> None:
        super().__init__("Redis did not answer the last calls")


class GuardedRedis(redis.Redis):
    """Every command goes through a circuit breaker; NotAsked where that is open."""

    def __init__(self, pool: redis.ConnectionPool, breaker: CircuitBreaker) -> None:
        """The pool is this client's own."""
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self.breaker = breaker
        # Beside the calls: a caller who tried would wait as long as those before.
        breaker.probe = partial(super().execute_command, "PING")

    def close(self) -> None:
        """Closes the connections."""
        self.breaker.stop()
        super().close()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Executes a command."""
        try:
            with self.breaker.attempt(*NO_ANSWER_ERRORS):
                return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py leaves it so
        except CircuitOpen:
            raise RedisCircuitOpen from None

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> "_GuardedPipeline":
        """Several commands in one round trip."""
        made = _GuardedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        made.breaker = self.breaker
        return made


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
    """For work in the background: gives up on a command after two seconds, and reconnects by itself."""
    client: redis.Redis = redis.Redis.from_url(
        url,
        socket_timeout=2.0,
        socket_connect_timeout=0.5,
        health_check_interval=15,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), 2),
    )
    return client


def connect_redis_for_calls(url: str, breaker: CircuitBreaker | None = None) -> GuardedRedis:
    """For calls, which a client waits for: short time-outs, and a circuit breaker, by default one of its own.

    Its thread asks Redis until that answers. A connection that broke is replaced once; no time-out is waited for twice.
    """
    pool = redis.ConnectionPool.from_url(
        url,
        socket_timeout=_CALL_TIMEOUT_S,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )
    return GuardedRedis(pool, breaker or CircuitBreaker("redis"))
