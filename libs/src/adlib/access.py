"""What a caller may do: membership and permissions, from auth-service through two caches.

A process remembers an answer for half a second, Redis for a minute; whoever changes a standing has Redis forget it, so
that the change is seen everywhere within a second. Without Redis auth-service is asked; without both, nobody gets in.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Protocol, cast
from uuid import UUID

import redis
from prometheus_client import Counter

from adlib.errors import TokenInvalid
from adlib.identity import Person

_LOCAL_S = 0.5
_SHARED_S = 60
_LOCAL_LIMIT = 50_000
# Longer than any call that could have read the standing before it changed.
_FORGOTTEN_S = 30
_FORGOTTEN = b"-"
# Longer than an access token lives, so that an ended session stays ended until its last token has expired.
_ENDED_S = 1800

_redis_failures = Counter(
    "access_cache_failures_total", "Lookups that went to auth-service because Redis did not answer"
)


@dataclass(frozen=True, slots=True)
class Access:
    """A person's standing in an organization; `kind` is `Organization.Kind`, `permissions` a bitmask."""

    member: bool
    kind: int
    permissions: int


class SessionEnded(TokenInvalid):
    """The token is genuine, but its session is over."""

    def __init__(self) -> None:
        super().__init__("the session has ended; sign in again")


NOBODY = Access(member=False, kind=0, permissions=0)


class AccessSource(Protocol):
    """Knows what a session may do."""

    def access(self, person: Person, organization_id: UUID | None) -> Access:
        """The person's standing there (NOBODY without an organization); TOKEN_INVALID where the session has ended."""
        ...


def permissions_key(user_id: UUID, organization_id: UUID) -> str:
    """Where Redis keeps a person's standing in an organization."""
    return f"permissions:{user_id}:{organization_id}"


def ended_key(session_id: UUID) -> str:
    """Where Redis keeps that a session has ended."""
    return f"session-ended:{session_id}"


class CachedAccess:
    """An access source behind a cache in the process and one in Redis."""

    def __init__(self, source: AccessSource, shared: redis.Redis) -> None:
        self._source = source
        self._shared = shared
        self._local: OrderedDict[tuple[UUID, UUID, UUID | None], tuple[Access, float]] = OrderedDict()
        self._lock = Lock()

    def access(self, person: Person, organization_id: UUID | None) -> Access:
        """The person's standing; TOKEN_INVALID where the session has ended."""
        key = (person.user_id, person.session_id, organization_id)
        known = self._local.get(key)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        asked_at = time.monotonic()
        access = self._from_shared(person, organization_id)
        with self._lock:
            self._local[key] = (access, asked_at + _LOCAL_S)
            if len(self._local) > _LOCAL_LIMIT:
                self._local.popitem(last=False)
        return access

    def _from_shared(self, person: Person, organization_id: UUID | None) -> Access:
        keys = [ended_key(person.session_id)]
        if organization_id:
            keys.append(permissions_key(person.user_id, organization_id))
        try:
            ended, *kept = cast("list[bytes | None]", self._shared.mget(keys))
        except redis.RedisError:
            _redis_failures.inc()
            return self._source.access(person, organization_id)
        if ended:
            raise SessionEnded
        if kept and kept[0] and kept[0] != _FORGOTTEN:
            kind, permissions = kept[0].split(b":")
            return Access(member=True, kind=int(kind), permissions=int(permissions, 16))
        access = self._source.access(person, organization_id)
        if access.member:
            self._keep(keys[1], access)
        return access

    def _keep(self, key: str, access: Access) -> None:
        """Not over the mark that it was forgotten: what was read before the change must not be kept after it."""
        try:
            self._shared.set(key, f"{access.kind}:{access.permissions:x}", ex=_SHARED_S, nx=True)
        except redis.RedisError:
            _redis_failures.inc()


def end_session(shared: redis.Redis, session_id: UUID) -> None:
    """Tells every process that the session has ended; redis.RedisError where it could not be told."""
    shared.set(ended_key(session_id), b"1", ex=_ENDED_S)


def forget_permissions(shared: redis.Redis, user_id: UUID, organization_id: UUID) -> None:
    """Makes every process ask again; redis.RedisError where it could not be told."""
    shared.set(permissions_key(user_id, organization_id), _FORGOTTEN, ex=_FORGOTTEN_S)
