"""Creates, lists and revokes API keys."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from google.protobuf.message import Message

from adlib import api_key_format
from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import LimitReached
from adlib.idempotency import Idempotency
from adlib.ids import NewId
from adlib.outbox import Outbox
from adlib.paging import Page, Slice, cut
from adlib.rpc import Caller
from auth_service.api_keys import store
from auth_service.api_keys.messages import api_key_created
from auth_service.api_keys.model import MAX_LIVE_KEYS, ApiKey, ApiKeyNotFound, Network, require_within_parent
from auth_service.authorization.service import authorize
from auth_service.invalidations.service import CacheInvalidations

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """The fields of a new key; `permissions` are codes."""

    name: str
    permissions: Collection[int]
    expires_at: datetime | None
    networks: Sequence[Network]


class ApiKeyService:
    """The use cases of API keys. A key's text is only in the response that creates it."""

    def __init__(
        self, db: Database, outbox: Outbox, invalidations: CacheInvalidations, clock: Clock, ids: NewId
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._invalidations = invalidations
        self._clock = clock
        self._ids = ids

    def create(self, caller: Caller, new: NewApiKey, idempotency: Idempotency[ApiKey, M]) -> tuple[M, str]:
        """Creates a key; its text is empty in the response to a repeated request. RIGHTS_EXCEEDED, LIMIT_REACHED."""
        text = api_key_format.generate()
        with self._db.transaction() as tx:
            if (replayed := idempotency.replay(tx)) is not None:
                return replayed, ""
            actor = authorize(tx, caller)
            actor.require(new.permissions)
            if caller.api_key is not None:
                require_within_parent(
                    expires_at=new.expires_at,
                    networks=new.networks,
                    parent_expires_at=caller.api_key.expires_at,
                    parent_networks=caller.api_key.networks,
                )
            now = self._clock.now()
            if store.count_live(tx, actor.tenant.id, now) >= MAX_LIVE_KEYS:
                raise LimitReached("API keys in an organization", MAX_LIVE_KEYS)
            key = ApiKey(
                id=self._ids(),
                organization_id=actor.tenant.id,
                user_id=actor.user_id,
                name=new.name,
                prefix=api_key_format.prefix_of(text),
                permissions=frozenset(new.permissions),
                networks=tuple(new.networks),
                created_at=now,
                expires_at=new.expires_at,
            )
            store.add(tx, key, api_key_format.hash_of(text), parent_id=caller.api_key.id if caller.api_key else None)
            self._outbox.append(tx, key.organization_id, api_key_created(key, actor.tenant.organization.name))
            return idempotency.record(tx, key), text

    def list_page(self, caller: Caller, page: Page) -> Slice[ApiKey]:
        """The organization's keys that are not revoked, newest first."""
        return cut(store.list_page(self._db, caller.organization_id, page), page, lambda key: key.id)

    def revoke(self, caller: Caller, api_key_id: UUID) -> None:
        """Revokes a key and every key that it created; API_KEY_NOT_FOUND."""
        with self._db.transaction() as tx:
            revoked = store.revoke(tx, caller.organization_id, api_key_id, self._clock.now())
            if not revoked:
                raise ApiKeyNotFound(api_key_id)
            for hash in revoked:
                self._invalidations.api_key_revoked(tx, hash)
