"""Membership, permissions and API keys of callers: auth-service behind a cache in Redis and one in the process.

Entries live for 0.5 s in the process and for 60 s in Redis. A change writes an invalidation to Redis that outlives
every entry older than the change; a lookup that finds an invalidation calls auth-service. auth-service also renews a
key in Redis, valid for 0.4 s, which states that Redis has every invalidation. While that key is missing, for instance
after an outage, lookups do not use Redis and call auth-service. So a change takes effect everywhere within 1 s. If
Redis fails, lookups call auth-service; if both fail, access is denied.
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
from typing_extensions import override

from adlib import permissions
from adlib.clock import instant, timestamp
from adlib.errors import TokenInvalid
from adlib.identity import NO_SESSION, ApiKey, Person

_LOCAL_TTL_S = 0.5
_REDIS_TTL_S = 60
_MAX_LOCAL_ENTRIES = 50_000
# Outlives every entry read before the change: its TTL, plus 30 s for a slow call that stores what it read earlier.
_INVALIDATION_TTL_S = _REDIS_TTL_S + 30
# The sum of this and _LOCAL_TTL_S, the longest use of an outdated entry, is less than 1 s.
_CURRENT_TTL_MS = 400
# Longer than the lifetime of an access token (15 minutes), so that a revoked session stays revoked.
_SESSION_END_TTL_S = 1800

_redis_failures = Counter(
    "access_cache_failures_total", "Lookups that went to auth-service because Redis did not answer"
)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Access:
    """A person's rights in an organization; `kind` is an `Organization.Kind`, `permissions` a bitmask."""

    is_member: bool
    kind: int
    permissions: int
    email_verified: bool = False


class SessionEnded(TokenInvalid):
    """The token is valid, but its session has ended."""

    def __init__(self) -> None:
        super().__init__("the session has ended; sign in again")


NO_ACCESS = Access(is_member=False, kind=0, permissions=0)


class AccessSource(Protocol):
    """Looks up the rights of callers."""

    def access(self, person: Person, organization_id: UUID | None) -> Access:
        """Returns the person's access, NO_ACCESS without an organization; raises SessionEnded."""
        ...

    def api_key(self, hash: bytes) -> ApiKey | None:
        """Returns the API key whose text has this SHA-256, or None if it is unknown, expired or revoked."""
        ...


@dataclass(frozen=True, slots=True)
class CacheInvalidation:
    """A key that makes the cached entries of a change invalid, with its time to live in Redis."""

    key: str
    ttl_s: int


_CURRENT_KEY = "all-changes-told"
EVERYTHING_CHANGED = CacheInvalidation("permissions-changed", _INVALIDATION_TTL_S)
# Read with every lookup: they decide whether any entry in Redis can be used.
_VALIDITY_KEYS = (_CURRENT_KEY, EVERYTHING_CHANGED.key)


def organization_changed(organization_id: UUID) -> CacheInvalidation:
    """For a change of the organization's memberships, roles or grants, or of a member's verified e-mail."""
    return CacheInvalidation(f"permissions-changed:{organization_id}", _INVALIDATION_TTL_S)


def session_ended(session_id: UUID) -> CacheInvalidation:
    """For the end of a session."""
    return CacheInvalidation(f"session-ended:{session_id}", _SESSION_END_TTL_S)


def api_key_revoked(hash: bytes) -> CacheInvalidation:
    """For the revocation of an API key."""
    return CacheInvalidation(f"api-key-revoked:{hash.hex()}", _INVALIDATION_TTL_S)


class _LocalCache(Generic[K, V]):
    """The cache in the process; an entry lives for 0.5 s."""

    # A hit takes 1.2 µs. redis-py 8.1's client-side caching takes 36 µs and refuses Valkey. With that check disabled,
    # four threads that share a client deadlocked in 6 of 8 runs when a cached key changed (bench/permissions).

    def __init__(self) -> None:
        self._entries: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: K, load: Callable[[], V]) -> V:
        """Returns the cached value, or loads and caches it."""
        entry = self._entries.get(key)
        if entry is not None and entry[1] > time.monotonic():
            return entry[0]
        expires_at = time.monotonic() + _LOCAL_TTL_S
        value = load()
        with self._lock:
            self._entries[key] = (value, expires_at)
            if len(self._entries) > _MAX_LOCAL_ENTRIES:
                self._entries.popitem(last=False)
        return value


class CachedAccess(AccessSource):
    """An access source behind a cache in the process and one in Redis."""

    def __init__(self, source: AccessSource, shared: redis.Redis) -> None:
        """`shared` is a client for calls, see `adlib.redis_clients`."""
        self._source = source
        self._shared = shared
        self._access: _LocalCache[tuple[Person, UUID | None], Access] = _LocalCache()
        self._api_keys: _LocalCache[bytes, ApiKey | None] = _LocalCache()

    def close(self) -> None:
        """Closes the connections to Redis."""
        self._shared.close()

    @override
    def access(self, person: Person, organization_id: UUID | None) -> Access:
        return self._access.get((person, organization_id), lambda: self._load_access(person, organization_id))

    @override
    def api_key(self, hash: bytes) -> ApiKey | None:
        return self._api_keys.get(hash, lambda: self._load_api_key(hash))

    def _load_access(self, person: Person, organization_id: UUID | None) -> Access:
        session_key = f"session-live:{person.session_id}"
        # v2: the previous release reads values of two parts.
        access_key = f"permissions:v2:{person.user_id}:{organization_id}"
        changed_key = organization_changed(organization_id).key if organization_id else EVERYTHING_CHANGED.key
        found = self._read(session_ended(person.session_id).key, session_key, changed_key, access_key)
        if found is None:
            return self._source.access(person, organization_id)
        ended, live, changed, cached = found
        if person.session_id == NO_SESSION:
            live = b"1"
        elif ended:
            raise SessionEnded
        if live and not organization_id:
            return NO_ACCESS
        if live and cached and not changed:
            kind, held, verified = cached.split(b":")
            return Access(True, int(kind), int(held, 16), email_verified=verified == b"1")
        access = self._source.access(person, organization_id)
        if not live:
            self._write(session_key, b"1")
        if access.is_member and not changed:
            self._write(access_key, f"{access.kind}:{access.permissions:x}:{access.email_verified:d}".encode())
        return access

    def _load_api_key(self, hash: bytes) -> ApiKey | None:
        redis_key = f"api-key:{hash.hex()}"
        found = self._read(api_key_revoked(hash).key, redis_key)
        if found is None:
            return self._source.api_key(hash)
        revoked, cached = found
        if cached and not revoked:
            return api_key_from_pb(KnownApiKey.FromString(cached))
        api_key = self._source.api_key(hash)
        if api_key and not revoked:
            self._write(redis_key, api_key_to_pb(api_key).SerializeToString())
        return api_key

    def _read(self, *keys: str) -> list[bytes | None] | None:
        """Returns the values in Redis, or None if Redis does not answer or lacks invalidations.

        The client's circuit breaker limits how long calls wait for a Redis that does not answer.
        """
        try:
            current, everything_changed, *values = cast(
                "list[bytes | None]", self._shared.mget([*_VALIDITY_KEYS, *keys])
            )
        except redis.RedisError:
            _redis_failures.inc()
            return None
        return values if current and not everything_changed else None

    def _write(self, key: str, value: bytes) -> None:
        try:
            self._shared.set(key, value, ex=_REDIS_TTL_S)
        except redis.RedisError:
            _redis_failures.inc()


def invalidate(shared: redis.Redis, *invalidations: CacheInvalidation) -> None:
    """Invalidates the cached entries of every process; redis.RedisError if the invalidations were not stored."""
    pipeline = shared.pipeline(transaction=False)
    for invalidation in invalidations:
        pipeline.set(invalidation.key, b"1", ex=invalidation.ttl_s)
    pipeline.execute()


def redis_time_ms(shared: redis.Redis) -> int:
    """The clock of Redis, in ms since 1970; redis.RedisError."""
    seconds, microseconds = shared.time()
    return seconds * 1000 + microseconds // 1000


def redis_run_id(shared: redis.Redis) -> str:
    """The run id of Redis, which changes at each restart; redis.RedisError."""
    return str(cast("dict[str, object]", shared.info("server"))["run_id"])


def mark_cache_current(shared: redis.Redis, at_ms: int) -> None:
    """States that Redis has every invalidation written before `at_ms` of its own clock; redis.RedisError.

    The key expires at an absolute time, so that a delayed command has no effect.
    """
    shared.set(_CURRENT_KEY, b"1", pxat=at_ms + _CURRENT_TTL_MS)


def api_key_to_pb(key: ApiKey) -> KnownApiKey:
    """Converts an API key to the contract's message."""
    return KnownApiKey(
        id=str(key.id),
        user_id=str(key.user_id),
        organization_id=str(key.organization_id),
        permissions=permissions.codes(key.permissions),
        expire_time=timestamp(key.expires_at) if key.expires_at else None,
        allowed_cidrs=[str(network) for network in key.networks],
    )


def api_key_from_pb(known: KnownApiKey) -> ApiKey:
    """Converts the contract's message to an API key."""
    return ApiKey(
        id=UUID(known.id),
        user_id=UUID(known.user_id),
        organization_id=UUID(known.organization_id),
        permissions=permissions.mask(known.permissions),
        expires_at=instant(known.expire_time) if known.HasField("expire_time") else None,
        networks=tuple(ip_network(network) for network in known.allowed_cidrs),
    )
