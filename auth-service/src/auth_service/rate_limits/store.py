"""Attempt counters in Redis. E-mail addresses and network addresses are stored as SHA-256 hashes."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast
from uuid import UUID

import redis

from adlib.clock import Clock
from adlib.errors import Unavailable
from auth_service.rate_limits.model import HOUR_S, MAX_INVITATIONS_PER_HOUR, Counter

# After this time an attempt that was never settled no longer occupies a slot; its caller received an error earlier.
_LEASE_MS = 60 * 1000

# read: the number of attempts of a counter, and the wait of the next one in ms. count: stores the number.
_READ = """
local function read(key, free, reset)
  local stored = redis.call('HMGET', key, 'n', 'last')
  local n, last = tonumber(stored[1] or 0), tonumber(stored[2] or 0)
  if now - last >= reset then n = 0 end
  local step = n - free
  local due = step < 0 and 0 or last + (step < 5 and 2 ^ step * 1000 or reset)
  return n, math.max(0, due - now)
end
local function count(key, n, reset)
  redis.call('HSET', key, 'n', n, 'last', now)
  redis.call('PEXPIRE', key, reset)
end
"""
# KEYS: the counters; ARGV: now in ms, then `free` and `reset_after_s` of each. Returns the wait in ms. Counts in every
# counter if that is 0 and in none otherwise, so a refused attempt does not prolong the wait. One script, so that
# concurrent attempts are counted before any of them is allowed.
_COUNT = f"""
local now, wait, counted = tonumber(ARGV[1]), 0, {{}}
{_READ}
for i, key in ipairs(KEYS) do
  local n, its_wait = read(key, tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1]) * 1000)
  counted[i], wait = n + 1, math.max(wait, its_wait)
end
if wait > 0 then return math.ceil(wait) end
for i, key in ipairs(KEYS) do count(key, counted[i], tonumber(ARGV[2 * i + 1]) * 1000) end
return 0
"""
# KEYS: the counters; each loses one attempt.
_UNCOUNT = """
for _, key in ipairs(KEYS) do
  if tonumber(redis.call('HGET', key, 'n') or 0) > 0 then redis.call('HINCRBY', key, 'n', -1) end
end
return 0
"""
# KEYS: each counter and its attempts in progress; ARGV: now in ms, the attempt's id, its lease in ms, then `free` and
# `reset_after_s` of each counter. Returns the wait in ms, -1 if the attempts in progress could use up the free ones, or
# 0 if the attempt has started. Failures are counted when they are settled, so concurrent successes do not delay each
# other.
_START = f"""
local now, id, lease = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local wait, full = 0, false
{_READ}
for i = 1, #KEYS, 2 do
  local free = tonumber(ARGV[3 + i])
  local n, its_wait = read(KEYS[i], free, tonumber(ARGV[4 + i]) * 1000)
  wait = math.max(wait, its_wait)
  redis.call('ZREMRANGEBYSCORE', KEYS[i + 1], '-inf', now - lease)
  redis.call('ZREM', KEYS[i + 1], id)
  full = full or redis.call('ZCARD', KEYS[i + 1]) >= math.max(free - n, 1)
end
if wait > 0 then return math.ceil(wait) end
if full then return -1 end
for i = 1, #KEYS, 2 do
  redis.call('ZADD', KEYS[i + 1], now, id)
  redis.call('PEXPIRE', KEYS[i + 1], lease)
end
return 0
"""
# KEYS and ARGV as in _START, but instead of the lease 1 if the attempt failed and is to be counted. Returns whether the
# attempt was in progress; one that was not is not counted again.
_SETTLE = f"""
local now, id, has_failed = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1'
local was_open = false
{_READ}
for i = 1, #KEYS, 2 do
  if redis.call('ZREM', KEYS[i + 1], id) == 1 then
    was_open = true
    local reset = tonumber(ARGV[4 + i]) * 1000
    if has_failed then count(KEYS[i], read(KEYS[i], tonumber(ARGV[3 + i]), reset) + 1, reset) end
  end
end
return was_open and 1 or 0
"""
# KEYS: logs of times; ARGV: now in ms, the entry's id, the window in ms, its most entries. Returns the wait in ms.
# Adds the entry to every log if that is 0 and to none otherwise.
_LOG = """
local now, window, most, wait = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4]), 0
for _, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
  if redis.call('ZCARD', key) >= most then
    wait = math.max(wait, redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] + window - now)
  end
end
if wait > 0 then return math.ceil(wait) end
for _, key in ipairs(KEYS) do
  redis.call('ZADD', key, now, ARGV[2])
  redis.call('PEXPIRE', key, window)
end
return 0
"""


class AttemptStore:
    """Counts attempts in Redis; every method raises UNAVAILABLE if Redis does not answer."""

    def __init__(self, shared: redis.Redis, clock: Clock) -> None:
        self._shared = shared
        self._clock = clock
        self._count = shared.register_script(_COUNT)
        self._uncount = shared.register_script(_UNCOUNT)
        self._start = shared.register_script(_START)
        self._settle = shared.register_script(_SETTLE)
        self._log = shared.register_script(_LOG)

    def count(self, counters: Sequence[Counter]) -> int:
        """Counts an attempt unless it must wait; returns the wait in ms, or 0."""
        with _translated():
            return cast("int", self._count(keys=_keys(counters), args=[self._now_ms(), *_limits(counters)]))

    def uncount(self, counters: Sequence[Counter]) -> None:
        """Removes one attempt from each counter."""
        with _translated():
            self._uncount(keys=_keys(counters))

    def clear(self, counter: Counter) -> None:
        """Resets the counter."""
        with _translated():
            self._shared.delete(_key(counter))

    def start(self, attempt_id: str, counters: Sequence[Counter]) -> int:
        """Starts an attempt; returns 0, the wait in ms, or -1 if attempts in progress could use up the free ones."""
        arguments: list[int | str] = [self._now_ms(), attempt_id, _LEASE_MS, *_limits(counters)]
        with _translated():
            return cast("int", self._start(keys=_keys_with_open(counters), args=arguments))

    def settle(self, attempt_id: str, counters: Sequence[Counter], *, has_failed: bool) -> bool:
        """Ends an attempt and counts it if it failed; False if it is no longer in progress."""
        arguments: list[int | str] = [self._now_ms(), attempt_id, int(has_failed), *_limits(counters)]
        with _translated():
            return bool(self._settle(keys=_keys_with_open(counters), args=arguments))

    def log_invitation(self, invitation_id: str, organization_id: UUID, user_id: UUID) -> int:
        """Logs an invitation for its senders unless it must wait; returns the wait in ms, or 0."""
        arguments: list[int | str] = [self._now_ms(), invitation_id, HOUR_S * 1000, MAX_INVITATIONS_PER_HOUR]
        with _translated():
            return cast("int", self._log(keys=_invitation_logs(organization_id, user_id), args=arguments))

    def remove_invitation(self, invitation_id: str, organization_id: UUID, user_id: UUID) -> None:
        """Removes an invitation from the logs of its senders."""
        with _translated():
            for key in _invitation_logs(organization_id, user_id):
                self._shared.zrem(key, invitation_id)

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)


def _limits(counters: Sequence[Counter]) -> list[int]:
    return [number for counter in counters for number in (counter.limit.free, counter.limit.reset_after_s)]


def _keys(counters: Sequence[Counter]) -> list[str]:
    return [_key(counter) for counter in counters]


def _keys_with_open(counters: Sequence[Counter]) -> list[str]:
    return [key for counter in counters for key in (_key(counter), f"{_key(counter)}:open")]


def _key(counter: Counter) -> str:
    return f"attempts:{counter.limit.name}:{hashlib.sha256(counter.subject.encode()).hexdigest()}"


def _invitation_logs(organization_id: UUID, user_id: UUID) -> list[str]:
    senders = ("organization", organization_id), ("person", user_id)
    return [f"attempts:invitations-of-{kind}:{sender}" for kind, sender in senders]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        # Fails closed: without a count there is no limit.
        raise Unavailable("attempts to sign in cannot be counted right now; try again") from error
