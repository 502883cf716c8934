"""Takes items that always fail out of the settlement job, until an operator gives them back."""

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

# More than a run has time for.
_MAX_FAILING = 5_000

_quarantined = Counter("settlement_quarantined_total", "Items that the settlement job stopped trying", ["kind"])
_log = logger(__name__)


class QuarantineService:
    """Counts failures of items and decides when they are left alone; `providers` are those that are configured."""

    def __init__(self, db: Database, providers: Collection[str], clock: Clock, ids: NewId) -> None:
        self._db = db
        self._providers = providers
        self._clock = clock
        self._ids = ids

    def failing(self) -> Collection[ItemKey]:
        """Items that failed in earlier runs and are still tried."""
        return store.failing(self._db, _MAX_FAILING)

    def failed(self, key: ItemKey, error: Exception, *, is_waited_for: bool = False) -> None:
        """Counts the failure, and takes the item out of the job where it has been tried enough.

        `is_waited_for`: an outage, however long, is waited for.
        """
        reason = ErrorReason.Name(error.reason) if isinstance(error, AppError) else ""
        with self._db.transaction() as tx:
            before = store.failed(tx, self._ids(), key, explain(error), reason, self._clock.now())
            after = before.judged(fault_of(error), is_waited_for=is_waited_for)
            if after is before or before.quarantined_at:
                return
            store.save(tx, after)
        _quarantined.labels(key.kind.value).inc()
        _log.error("item_quarantined", id=str(after.id), item=str(key), tries=after.failure_count)

    def succeeded(self, key: ItemKey) -> None:
        """Forgets that the item has failed."""
        with self._db.transaction() as tx:
            store.succeeded(tx, key)

    def count(self) -> int:
        """How many items wait for an operator."""
        return store.count(self._db)

    def tidy(self) -> None:
        """Forgets what ended otherwise, and gives back what failed only because its provider was not configured."""
        with self._db.transaction() as tx:
            store.forget_ended(tx)
            released = store.release_of_providers(tx, self._providers)
        if released:
            _log.warning("quarantine_released", items=released, providers=sorted(self._providers))

    def list_page(self, part: Page) -> Slice[FailingItem]:
        """The items that wait for an operator, newest first."""
        return cut(store.page(self._db, part), part, lambda item: item.id)

    def get(self, id: UUID) -> FailingItem:
        """The item, also a discarded one; QUARANTINED_ITEM_NOT_FOUND."""
        item = store.get(self._db, id)
        if item is None:
            raise ItemNotFound(id)
        return item

    def retry(self, id: UUID) -> None:
        """Gives the item back to the job as if it had never failed; QUARANTINED_ITEM_NOT_FOUND."""
        with self._db.transaction() as tx:
            if not store.release(tx, id):
                raise ItemNotFound(id)

    def discard(self, id: UUID, reason: str) -> FailingItem:
        """Leaves the item alone for good; a repeat keeps the first reason. QUARANTINED_ITEM_NOT_FOUND."""
        with self._db.transaction() as tx:
            item = store.lock(tx, id)
            if item is None:
                raise ItemNotFound(id)
            discarded = item.discarded(reason, self._clock.now())
            store.save(tx, discarded)
            return discarded
