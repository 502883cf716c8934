"""Adding to audit logs, reading and verifying them."""

from collections.abc import Sequence
from uuid import UUID

from adlib.db import Database, Transaction
from adlib.errors import InvalidField, Unavailable
from adlib.paging import Page, Slice, cut
from auth_service.audit import store
from auth_service.audit.model import BEGINNING, Entry, Filter, Link, LogRow, Verified, first_broken, linked

_MOST_ROWS = 2**63 - 1


class AuditService:
    """The use cases of audit logs."""

    def __init__(self, db: Database, *, most_verified: int = 100_000, batch: int = 2_000) -> None:
        """A call verifies `most_verified` rows at most, as the contract says, and reads `batch` at a time."""
        self._db = db
        self._most_verified = most_verified
        self._batch = batch

    def add(self, recorded: Sequence[tuple[UUID, Entry]]) -> None:
        """Appends calls to the logs of their organizations, each once.

        Calls for no organization, or for one that is gone, go to the platform's; UNAVAILABLE, when the others are
        stored, while there is none.
        """
        wanted = {entry.id: (organization_id, entry) for organization_id, entry in recorded}
        with self._db.transaction() as tx:
            homes = self._homes(tx, {organization_id for organization_id, _ in wanted.values()})
            heads = store.lock_heads(tx, set(homes.values()))
            # Asked after the lock: whoever had it before may have stored the same events.
            known = store.known(tx, wanted)
            rows: list[LogRow] = []
            for organization_id, entry in wanted.values():
                home = homes.get(organization_id)
                if home is not None and entry.id not in known:
                    row = linked(home, heads[home], entry)
                    heads[home] = Link(row.sequence, row.hash)
                    rows.append(row)
            store.append(tx, rows, heads)
        if len(rows) + len(known) < len(wanted):
            raise Unavailable("the platform's own organization has not been made yet")

    def _homes(self, tx: Transaction, organization_ids: set[UUID]) -> dict[UUID, UUID]:
        """In whose log calls for each organization are; nothing where that is not there yet."""
        there = store.there(tx, organization_ids)
        homes = {id: id for id in there}
        if gone := organization_ids - there:
            platform = store.platform(tx)
            homes |= {id: platform for id in gone if platform}
        return homes

    def list_page(self, organization_id: UUID, page: Page, wanted: Filter) -> Slice[LogRow]:
        """The organization's log, newest first."""
        before = min(page.before.int, _MOST_ROWS)
        rows = store.list_page(self._db, organization_id, before, page.limit, wanted)
        return cut(rows, page, lambda row: UUID(int=row.sequence))

    def verify(self, organization_id: UUID, start_sequence: int) -> Verified:
        """Computes the organization's chain again from there on."""
        # What is appended meanwhile is for the next time.
        end, last = store.head(self._db, organization_id)
        start = max(start_sequence, 1)
        if start > max(end.sequence, last) + 1:
            raise InvalidField("startSequence", f"is beyond the end of the log, which has {end.sequence} entries")
        before = BEGINNING
        if start > 1:
            found = store.following(self._db, organization_id, start - 1, start - 1)
            if not found:
                return Verified(0, b"", broken_sequence=start - 1)
            before = Link(found[0].sequence, found[0].hash)
        stop = min(end.sequence, start + self._most_verified - 1)
        while before.sequence < stop:
            upto = min(before.sequence + self._batch, stop)
            rows = store.following(self._db, organization_id, before.sequence + 1, upto)
            before, broken = first_broken(organization_id, before, rows)
            if broken or before.sequence < upto:
                return _verified(start, before, broken=broken or before.sequence + 1)
        if before.sequence < end.sequence:
            return _verified(start, before, following=before.sequence + 1)
        if last > end.sequence:
            return _verified(start, before, broken=end.sequence + 1)
        return _verified(start, before, broken=end.sequence if before != end else 0)


def _verified(start: int, last: Link, *, broken: int = 0, following: int = 0) -> Verified:
    return Verified(last.sequence - start + 1, last.hash, broken, following)
