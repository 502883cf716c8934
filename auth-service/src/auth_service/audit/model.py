"""The hash chain of an organization's audit log."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

# The hash before the first row.
GENESIS = bytes(32)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """An audited call; `time` has whole microseconds, like the database's."""

    id: UUID
    time: datetime
    actor: str
    user_id: UUID | None
    api_key_id: UUID | None
    service: str
    action: str
    resource: str
    outcome: str
    reason: str
    request_id: str
    address: str


@dataclass(frozen=True, slots=True)
class ChainPosition:
    """The position of a row in a chain: the last one, or the last one verified."""

    sequence: int
    hash: bytes


CHAIN_START = ChainPosition(0, GENESIS)


@dataclass(frozen=True, slots=True)
class LogRow:
    """An audited call at its position in the chain."""

    organization_id: UUID
    sequence: int
    entry: Entry
    hash: bytes


def chained(organization_id: UUID, before: ChainPosition, entry: Entry) -> LogRow:
    """The entry as the next row of the chain."""
    sequence = before.sequence + 1
    return LogRow(organization_id, sequence, entry, row_hash(organization_id, sequence, before.hash, entry))


def row_hash(organization_id: UUID, sequence: int, hash_before: bytes, entry: Entry) -> bytes:
    """SHA-256 over the previous hash and every field, each with its length, so that the encoding is unambiguous."""
    texts = (
        entry.actor, entry.service, entry.action, entry.resource, entry.outcome, entry.reason, entry.request_id,
        entry.address,
    )  # fmt: skip
    fields = (
        b"audit-log-1",
        hash_before,
        organization_id.bytes,
        b"%d" % sequence,
        entry.id.bytes,
        b"%d" % ((entry.time - _EPOCH) // _MICROSECOND),
        entry.user_id.bytes if entry.user_id else b"",
        entry.api_key_id.bytes if entry.api_key_id else b"",
        *map(str.encode, texts),
    )
    return hashlib.sha256(b"".join(len(field).to_bytes(4) + field for field in fields)).digest()


def first_broken(organization_id: UUID, before: ChainPosition, rows: Iterable[LogRow]) -> tuple[ChainPosition, int]:
    """Verifies rows in order; returns the last intact position, and the sequence at which the chain breaks, or 0."""
    for row in rows:
        if row.organization_id != organization_id or row.sequence != before.sequence + 1:
            return before, before.sequence + 1
        if row.hash != row_hash(organization_id, row.sequence, before.hash, row.entry):
            return before, row.sequence
        before = ChainPosition(row.sequence, row.hash)
    return before, 0


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of verifying a part of a chain; `broken_sequence` and `next_sequence` are 0 if there is none."""

    count: int
    last_hash: bytes
    broken_sequence: int = 0
    next_sequence: int = 0


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of rows; a field that is None does not filter."""

    user_id: UUID | None = None
    action: str | None = None
    start: datetime | None = None
    end: datetime | None = None
