"""The use cases of API keys."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from adplatform.events.v1.events_pb2 import UserNotified
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
from auth_service.access.invalidations import CacheInvalidations
from auth_service.api_keys import store
from auth_service.api_keys.model import (
    MAX_LIVE,
    ApiKey,
    ApiKeyNotFound,
    Network,
    require_no_wider,
)
from auth_service.organizations.acting import act

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """What making a key takes; `permissions` are codes."""

    name: str
    permissions: Collection[int]
    expires_at: datetime | None
    networks: Sequence[Network]


class ApiKeyService:
    """Making, listing and revoking. The text of a key is in the answer that made it, and nowhere else."""

    def __init__(
        self, db: Database, outbox: Outbox, invalidations: CacheInvalidations, clock: Clock, ids: NewId
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._invalidations = invalidations
        self._clock = clock
        self._ids = ids

    def create(self, caller: Caller, new: NewApiKey, idempotency: Idempotency[ApiKey, M]) -> tuple[M, str]:
        """The new key and its text, which a repeat of the request does not get again; RIGHTS_EXCEEDED."""
        text = api_key_format.generate()
        with self._db.transaction() as tx:
            if (seen := idempotency.replay(tx)) is not None:
                return seen, ""
            actor = act(tx, caller)
            actor.require(new.permissions)
            if caller.api_key is not None:
                require_no_wider(
                    expires_at=new.expires_at,
                    networks=new.networks,
                    makers_expires_at=caller.api_key.expires_at,
                    makers_networks=caller.api_key.networks,
                )
            now = self._clock.now()
            if store.count_live(tx, actor.tenant.id, now) >= MAX_LIVE:
                raise LimitReached("API keys in an organization", MAX_LIVE)
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
            store.add(tx, key, api_key_format.hash_of(text), made_by=caller.api_key.id if caller.api_key else None)
            self._outbox.append(tx, key.organization_id, _created(key, actor.tenant.organization.name))
            return idempotency.record(tx, key), text

    def list_page(self, caller: Caller, page: Page) -> Slice[ApiKey]:
        """The organization's keys that are not revoked, newest first."""
        return cut(store.list_page(self._db, caller.organization_id, page), page, lambda key: key.id)

    def revoke(self, caller: Caller, api_key_id: UUID) -> None:
        """Ends a key everywhere, and those that were made with it; API_KEY_NOT_FOUND."""
        with self._db.transaction() as tx:
            revoked = store.revoke(tx, caller.organization_id, api_key_id, self._clock.now())
            if not revoked:
                raise ApiKeyNotFound(api_key_id)
            for hash in revoked:
                self._invalidations.api_key_revoked(tx, hash)


def _created(key: ApiKey, organization: str) -> UserNotified:
    return UserNotified(
        user_id=str(key.user_id),
        kind=UserNotified.API_KEY_CREATED,
        title=f"An API key was made in your name in {organization}",
        body=f"It is called {key.name} and begins with {key.prefix}. If that was not you, revoke it.",
    )
