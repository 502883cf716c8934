"""Excludes items that fail repeatedly from the reconciliation job until an operator releases them."""

from collections.abc import Collection
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason
from prometheus_client import Counter

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import AppError
from adlib.ids import NewId
from adlib.jobs import explain
from adlib.paging import Page, Slice, cut
from adlib.telemetry import logger
from payment_service.quarantine import store
from payment_service.quarantine.model import FailingItem, ItemKey, ItemNotFound, fault_of

# More than a run can process.
_MAX_FAILING = 5_000

_quarantined = Counter("settlement_quarantined_total", "Items that the reconciliation job stopped retrying", ["kind"])
_log = logger(__name__)


class QuarantineService:
    """Counts failures per item and quarantines items; `providers` are the configured ones."""

    def __init__(self, db: Database, providers: Collection[str], clock: Clock, ids: NewId) -> None:
        self._db = db
        self._providers = providers
        self._clock = clock
        self._ids = ids

    def failing(self) -> Collection[ItemKey]:
        """Items that failed in earlier runs and are still retried."""
        return store.failing(self._db, _MAX_FAILING)

    def record_failure(self, key: ItemKey, error: Exception, *, is_outage_tolerated: bool = False) -> None:
        """Counts the failure, and quarantines the item once the limit of its kind of error is reached.

        `is_outage_tolerated`: an outage never quarantines the item, however long it lasts.
        """
        reason = ErrorReason.Name(error.reason) if isinstance(error, AppError) else ""
        with self._db.transaction() as tx:
            before = store.record_failure(tx, self._ids(), key, explain(error), reason, self._clock.now())
            after = before.with_fault(fault_of(error), is_outage_tolerated=is_outage_tolerated)
            if after is before or before.quarantined_at:
                return
            store.save(tx, after)
        _quarantined.labels(key.kind.value).inc()
        _log.error("item_quarantined", id=str(after.id), item=str(key), failures=after.failure_count)

    def record_success(self, key: ItemKey) -> None:
        """Deletes the record of the item's failures."""
        with self._db.transaction() as tx:
            store.delete(tx, key)

    def count(self) -> int:
        """The number of items that wait for an operator."""
        return store.count(self._db)

    def clean_up(self) -> None:
        """Deletes items that ended in another way, and releases those whose missing provider is configured now."""
        with self._db.transaction() as tx:
            store.delete_ended_any_tenant(tx)
            released = store.release_of_providers_any_tenant(tx, self._providers)
        if released:
            _log.warning("quarantine_released", items=released, providers=sorted(self._providers))

    def list_page(self, part: Page) -> Slice[FailingItem]:
        """The items that wait for an operator, newest first."""
        return cut(store.page(self._db, part), part, lambda item: item.id)

    def get(self, id: UUID) -> FailingItem:
        """The item, even if discarded; QUARANTINED_ITEM_NOT_FOUND."""
        item = store.get(self._db, id)
        if item is None:
            raise ItemNotFound(id)
        return item

    def retry(self, id: UUID) -> None:
        """Releases the item to the job, without its failures; QUARANTINED_ITEM_NOT_FOUND."""
        with self._db.transaction() as tx:
            if not store.release(tx, id):
                raise ItemNotFound(id)

    def discard(self, id: UUID, reason: str) -> FailingItem:
        """Discards the item permanently; a repeat does not change the reason. QUARANTINED_ITEM_NOT_FOUND."""
        with self._db.transaction() as tx:
            item = store.lock(tx, id)
            if item is None:
                raise ItemNotFound(id)
            discarded = item.discarded(reason, self._clock.now())
            store.save(tx, discarded)
            return discarded
