"""redis-py's client-side caching (RESP3, CLIENT TRACKING) as an alternative to our in-process cache."""

import threading
import time
from dataclasses import dataclass
from statistics import median

import redis
from bench.permissions.measure import Figure, timed
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

from adctl.embedded.valkey import ValkeyServer

_KEY = "permissions:somebody:somewhere"
_THREADS = 4
_BUSY_S = 2.0
_STUCK_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class Findings:
    refusal: str
    hit: Figure
    seen_after: Figure
    invalidation: Figure
    hits_per_s: float
    stuck: int
    while_away: str
    after_return: str


def measure(valkey: ValkeyServer) -> Findings:
    """Measures it on this server, which is stopped and started again."""
    plain = redis.Redis.from_url(valkey.url())
    plain.set(_KEY, "1:ff")
    refusal = _outcome(_client(valkey))
    # Disables the check of the server's name, to measure the rest.
    CacheProxyConnection.DEFAULT_SERVER_NAME = "valkey"
    cached = _client(valkey)
    hit = timed("redis-py client-side caching, hit", cached.get, [[(_KEY,)] * 3_000] * 5)
    seen_after = timed("", _until_seen, [[(plain, cached, number) for number in range(100)]] * 3)
    invalidation = _invalidation(plain, cached)
    valkey.stop()
    while_away = _outcome(cached)
    valkey.start()
    after_return = _outcome(cached)
    hits_per_s, stuck = _threads(redis.Redis.from_url(valkey.url()), _client(valkey))
    return Findings(refusal, hit, seen_after, invalidation, hits_per_s, stuck, while_away, after_return)


def _client(valkey: ValkeyServer) -> redis.Redis:
    return redis.Redis.from_url(valkey.url(), protocol=3, cache_config=CacheConfig(), socket_timeout=1.0)


def _outcome(client: redis.Redis) -> str:
    try:
        return f"answers {client.get(_KEY)!r}"
    except redis.RedisError as error:
        return f"{type(error).__name__}: {error}"


def _until_seen(plain: redis.Redis, cached: redis.Redis, number: int) -> None:
    value = str(number).encode()
    plain.set(_KEY, value)
    while cached.get(_KEY) != value:
        pass


def _invalidation(plain: redis.Redis, cached: redis.Redis) -> Figure:
    """A hit of one key after another of 9,000 changed: the client scans every entry."""
    keys = [f"key-{number}" for number in range(9_000)]
    plain.mset(dict.fromkeys(keys, "1"))
    for key in keys:
        cached.get(key)

    took = []
    for number in range(30):
        cached.get(keys[-1])
        plain.set(keys[-1], number)
        time.sleep(0.002)  # until the invalidation has arrived
        took.append(timed("", cached.get, [[(keys[0],)]]).p50_us)
    return Figure("", median(took), max(took))


def _threads(plain: redis.Redis, cached: redis.Redis) -> tuple[float, int]:
    """Hits per second of threads that share a client while the key changes, and the number of threads that deadlock."""
    counts = [0] * _THREADS
    over = time.monotonic() + _BUSY_S

    def work(index: int) -> None:
        while time.monotonic() < over:
            _outcome(cached)
            counts[index] += 1

    threads = [threading.Thread(target=work, args=[index], daemon=True) for index in range(_THREADS)]
    for thread in threads:
        thread.start()
    while time.monotonic() < over:
        plain.set(_KEY, str(time.monotonic()))
        time.sleep(0.1)
    for thread in threads:
        thread.join(max(over + _STUCK_AFTER_S - time.monotonic(), 0.0))
    return sum(counts) / _BUSY_S, sum(thread.is_alive() for thread in threads)
