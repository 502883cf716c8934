"""What a caller may do: membership, permissions and API keys, from auth-service through two caches.

A process remembers an answer for half a second, Redis for a minute. Whoever changes something leaves a mark in Redis
that outlives every answer from before it; what is marked is asked of auth-service. That Redis has every mark is itself
said in Redis, for less than half a second at a time: while it is not, as after an outage, auth-service is asked. So a
change is seen everywhere within a second. Without Redis auth-service is asked; without both, nobody gets in.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from ipaddress import ip_network
from threading import Lock
from typing import Generic, Protocol, TypeVar, cast
from uuid import UUID

import redis
from adplatform.auth.v1.auth_pb2 import KnownApiKey
from prometheus_client import Counter

from adlib import permissions
from adlib.clock import instant, timestamp
from adlib.errors import TokenInvalid
from adlib.identity import NO_SESSION, ApiKey, Person

_LOCAL_S = 0.5
_SHARED_S = 60
_LOCAL_LIMIT = 50_000
# Longer than an answer from before the change can be in Redis: the time it is kept there, and that of the call that
# read it before the change and kept it after.
_CHANGED_S = _SHARED_S + 30
# With the time that a process remembers, less than a second.
_CACHE_CURRENT_MS = 400
# Longer than an access token lives, so that an ended session stays ended until its last token has expired.
_ENDED_S = 1800

_redis_failures = Counter(
    "access_cache_failures_total", "Lookups that went to auth-service because Redis did not answer"
)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Access:
    """A person's standing in an organization; `kind` is `Organization.Kind`, `permissions` a bitmask.

    `email_verified` says whether a member has proven their e-mail.
    """

    is_member: bool
    kind: int
    permissions: int
    email_verified: bool = False


class SessionEnded(TokenInvalid):
    """The token is genuine, but its session is over."""

    def __init__(self) -> None:
        super().__init__("the session has ended; sign in again")


NO_ACCESS = Access(is_member=False, kind=0, permissions=0)


class AccessSource(Protocol):
    """Knows what callers may do."""

    def access(self, person: Person, organization_id: UUID | None) -> Access:
        """The person's access (NO_ACCESS without an organization); TOKEN_INVALID where the session has ended."""
        ...

    def api_key(self, hash: bytes) -> ApiKey | None:
        """The API key whose text has this SHA-256; None where there is none, or none that works any more."""
        ...


@dataclass(frozen=True, slots=True)
class CacheInvalidation:
    """What Redis is told when something changes, and how long it must remember it."""

    key: str
    ttl_s: int


_CACHE_IS_CURRENT = "all-changes-told"
EVERYTHING_CHANGED = CacheInvalidation("permissions-changed", _CHANGED_S)
# What says whether anything in Redis can be believed.
_TRUST = (_CACHE_IS_CURRENT, EVERYTHING_CHANGED.key)


def organization_changed(organization_id: UUID) -> CacheInvalidation:
    """Memberships, roles or grants of the organization changed, or a member has proven their e-mail."""
    return CacheInvalidation(f"permissions-changed:{organization_id}", _CHANGED_S)


def session_ended(session_id: UUID) -> CacheInvalidation:
    """The session is over."""
    return CacheInvalidation(f"session-ended:{session_id}", _ENDED_S)


def api_key_revoked(hash: bytes) -> CacheInvalidation:
    """The API key is revoked."""
    return CacheInvalidation(f"api-key-revoked:{hash.hex()}", _CHANGED_S)


class _Remembered(Generic[K, V]):
    """A process's own answers, each for half a second."""

    # A hit takes 1.2 µs. redis-py 8.1's client-side caching takes 36 µs and refuses Valkey; past that refusal, four
    # threads that shared a client waited for each other for ever when a kept key changed, in 6 tries of 8, each of two
    # seconds. bench/permissions shows it.

    def __init__(self) -> None:
        self._kept: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: K, ask: Callable[[], V]) -> V:
        known = self._kept.get(key)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        until = time.monotonic() + _LOCAL_S
        value = ask()
        with self._lock:
            self._kept[key] = (value, until)
            if len(self._kept) > _LOCAL_LIMIT:
                self._kept.popitem(last=False)
        return value


class CachedAccess:
    """An access source behind a cache in the process and one in Redis."""

    def __init__(self, source: AccessSource, shared: redis.Redis) -> None:
        """`shared` is a client for calls, see `adlib.redis_clients`."""
        self._source = source
        self._shared = shared
        self._standings: _Remembered[tuple[Person, UUID | None], Access] = _Remembered()
        self._keys: _Remembered[bytes, ApiKey | None] = _Remembered()

    def close(self) -> None:
        """Closes the connections to Redis."""
        self._shared.close()

    def access(self, person: Person, organization_id: UUID | None) -> Access:
        """The person's standing; TOKEN_INVALID where the session has ended."""
        return self._standings.get((person, organization_id), lambda: self._standing(person, organization_id))

    def api_key(self, hash: bytes) -> ApiKey | None:
        """The API key whose text has this SHA-256; None where there is none, or none that works any more."""
        return self._keys.get(hash, lambda: self._api_key(hash))

    def _standing(self, person: Person, organization_id: UUID | None) -> Access:
        session = f"session-live:{person.session_id}"
        # v2: the release before this one reads values of two parts.
        standing = f"permissions:v2:{person.user_id}:{organization_id}"
        changed = organization_changed(organization_id).key if organization_id else EVERYTHING_CHANGED.key
        found = self._read(session_ended(person.session_id).key, session, changed, standing)
        if found is None:
            return self._source.access(person, organization_id)
        ended, live, marked, kept = found
        if person.session_id == NO_SESSION:
            live = b"1"
        elif ended:
            raise SessionEnded
        if live and not organization_id:
            return NO_ACCESS
        if live and kept and not marked:
            kind, held, verified = kept.split(b":")
            return Access(True, int(kind), int(held, 16), email_verified=verified == b"1")
        access = self._source.access(person, organization_id)
        if not live:
            self._keep(session, b"1")
        if access.is_member and not marked:
            self._keep(standing, f"{access.kind}:{access.permissions:x}:{access.email_verified:d}".encode())
        return access

    def _api_key(self, hash: bytes) -> ApiKey | None:
        known = f"api-key:{hash.hex()}"
        found = self._read(api_key_revoked(hash).key, known)
        if found is None:
            return self._source.api_key(hash)
        revoked, kept = found
        if kept and not revoked:
            return api_key_from_pb(KnownApiKey.FromString(kept))
        key = self._source.api_key(hash)
        if key and not revoked:
            self._keep(known, api_key_to_pb(key).SerializeToString())
        return key

    def _read(self, *keys: str) -> list[bytes | None] | None:
        """What Redis has; None where it cannot be trusted or does not answer.

        The client's circuit breaker keeps calls from waiting for it one after the other.
        """
        try:
            told, everything, *kept = cast("list[bytes | None]", self._shared.mget([*_TRUST, *keys]))
        except redis.RedisError:
            _redis_failures.inc()
            return None
        return kept if told and not everything else None

    def _keep(self, key: str, value: bytes) -> None:
        try:
            self._shared.set(key, value, ex=_SHARED_S)
        except redis.RedisError:
            _redis_failures.inc()


def invalidate(shared: redis.Redis, *marks: CacheInvalidation) -> None:
    """Makes every process ask again; redis.RedisError where it could not be told."""
    pipeline = shared.pipeline(transaction=False)
    for mark in marks:
        pipeline.set(mark.key, b"1", ex=mark.ttl_s)
    pipeline.execute()


def redis_time_ms(shared: redis.Redis) -> int:
    """Redis's own time; redis.RedisError."""
    seconds, microseconds = shared.time()
    return seconds * 1000 + microseconds // 1000


def redis_run_id(shared: redis.Redis) -> str:
    """What the Redis that answers has been called since it started; redis.RedisError."""
    return str(cast("dict[str, object]", shared.info("server"))["run_id"])


def mark_cache_current(shared: redis.Redis, at_ms: int) -> None:
    """Says that Redis has every mark that was written before `at_ms` of its own time; redis.RedisError.

    Until a fixed time, so that a command that comes late says nothing.
    """
    shared.set(_CACHE_IS_CURRENT, b"1", pxat=at_ms + _CACHE_CURRENT_MS)


def api_key_to_pb(key: ApiKey) -> KnownApiKey:
    """An API key as the contract has it."""
    return KnownApiKey(
        id=str(key.id),
        user_id=str(key.user_id),
        organization_id=str(key.organization_id),
        permissions=permissions.codes(key.permissions),
        expire_time=timestamp(key.expires_at) if key.expires_at else None,
        allowed_cidrs=[str(network) for network in key.networks],
    )


def api_key_from_pb(known: KnownApiKey) -> ApiKey:
    """The API key that the contract's message tells of."""
    return ApiKey(
        id=UUID(known.id),
        user_id=UUID(known.user_id),
        organization_id=UUID(known.organization_id),
        permissions=permissions.mask(known.permissions),
        expires_at=instant(known.expire_time) if known.HasField("expire_time") else None,
        networks=tuple(ip_network(network) for network in known.allowed_cidrs),
    )
