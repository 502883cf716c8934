"""Appends to audit logs, lists and verifies them."""

from collections.abc import Sequence
from uuid import UUID

from adlib.db import Database, Transaction
from adlib.errors import InvalidField, Unavailable
from adlib.paging import Page, Slice, cut
from auth_service.audit import store
from auth_service.audit.model import (
    CHAIN_START,
    ChainPosition,
    Entry,
    Filter,
    LogRow,
    Verification,
    chained,
    first_broken,
)

_MAX_SEQUENCE = 2**63 - 1


class AuditService:
    """The use cases of audit logs."""

    def __init__(self, db: Database, *, max_verified: int = 100_000, batch: int = 2_000) -> None:
        """A call verifies at most `max_verified` rows (the contract's limit), `batch` at a time."""
        self._db = db
        self._max_verified = max_verified
        self._batch = batch

    def add(self, recorded: Sequence[tuple[UUID, Entry]]) -> None:
        """Appends calls to the logs of their organizations, each once.

        Calls without an organization, or of a deleted one, go to the platform's log. While the platform's organization
        does not exist, it stores the other calls and raises UNAVAILABLE.
        """
        wanted = {entry.id: (organization_id, entry) for organization_id, entry in recorded}
        with self._db.transaction() as tx:
            log_ids = self._log_ids(tx, {organization_id for organization_id, _ in wanted.values()})
            heads = store.lock_heads(tx, set(log_ids.values()))
            # Read under the lock: its previous holder may have stored the same events.
            stored = store.existing_entries_any_tenant(tx, wanted)
            rows: list[LogRow] = []
            for organization_id, entry in wanted.values():
                log_id = log_ids.get(organization_id)
                if log_id is not None and entry.id not in stored:
                    row = chained(log_id, heads[log_id], entry)
                    heads[log_id] = ChainPosition(row.sequence, row.hash)
                    rows.append(row)
            store.append(tx, rows, heads)
        if len(rows) + len(stored) < len(wanted):
            raise Unavailable("the platform's own organization does not exist yet; run create-admin")

    def _log_ids(self, tx: Transaction, organization_ids: set[UUID]) -> dict[UUID, UUID]:
        """Maps each organization to the one whose log stores its calls; some are absent until the platform exists."""
        existing = store.existing_organizations(tx, organization_ids)
        log_ids = {id: id for id in existing}
        if others := organization_ids - existing:
            platform = store.platform(tx)
            log_ids |= {id: platform for id in others if platform}
        return log_ids

    def list_page(self, organization_id: UUID, page: Page, filter: Filter) -> Slice[LogRow]:
        """The organization's log, newest first."""
        before = min(page.before.int, _MAX_SEQUENCE)
        rows = store.list_page(self._db, organization_id, before, page.limit, filter)
        return cut(rows, page, lambda row: UUID(int=row.sequence))

    def verify(self, organization_id: UUID, start_sequence: int) -> Verification:
        """Recomputes the organization's chain from this sequence on."""
        # Rows that are appended meanwhile are not verified.
        end, last = store.head(self._db, organization_id)
        start = max(start_sequence, 1)
        if start > max(end.sequence, last) + 1:
            raise InvalidField("startSequence", f"is beyond the end of the log, which has {end.sequence} entries")
        before = CHAIN_START
        if start > 1:
            found = store.between(self._db, organization_id, start - 1, start - 1)
            if not found:
                return Verification(0, b"", broken_sequence=start - 1)
            before = ChainPosition(found[0].sequence, found[0].hash)
        stop = min(end.sequence, start + self._max_verified - 1)
        while before.sequence < stop:
            upto = min(before.sequence + self._batch, stop)
            rows = store.between(self._db, organization_id, before.sequence + 1, upto)
            before, broken = first_broken(organization_id, before, rows)
            if broken or before.sequence < upto:
                return _verified(start, before, broken=broken or before.sequence + 1)
        if before.sequence < end.sequence:
            return _verified(start, before, following=before.sequence + 1)
        if last > end.sequence:
            return _verified(start, before, broken=end.sequence + 1)
        return _verified(start, before, broken=end.sequence if before != end else 0)


def _verified(start: int, last: ChainPosition, *, broken: int = 0, following: int = 0) -> Verification:
    return Verification(last.sequence - start + 1, last.hash, broken, following)
