"""The audit trail: exactly one `AuditRecorded` event for every call that changes something, sent through the outbox.

The first transaction that a call commits also stores the call's event in `audit_pending`, with outcome UNKNOWN. At its
end the call moves the event, with its outcome, to the outbox. If the process dies in between, a sweep moves the event
with outcome UNKNOWN. So every change has an event. A call that changed nothing writes its event once, at its end.

A call with one INSERT takes 820 µs with the audit trail and 430 µs without: 150 µs more in its transaction, the rest at
its end. The end does not wait for the disk, because a crash of PostgreSQL would only undo the move. A call that changes
nothing takes 340 µs more.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from adplatform.events.v1.events_pb2 import Event
from prometheus_client import Counter
from sqlalchemy import (
    Column,
    DateTime,
    LargeBinary,
    MetaData,
    Table,
    Uuid,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
)
from typing_extensions import override

from adlib.db import Database, Query, Transaction, before_commit
from adlib.errors import AppError
from adlib.outbox import table as outbox
from adlib.retention import NotPurged
from adlib.telemetry import logger

TOPIC = "audit"
RETENTION = NotPurged("audit_pending", "a row is deleted at the end of its call, or by the sweep ten minutes later")

_SWEEP_INTERVAL_S = 10.0
_BATCH_SIZE = 500
# Longer than the longest call, a job of five minutes.
_ABANDONED_AFTER = timedelta(minutes=10)

_pending = Table(
    "audit_pending", MetaData(),
    Column("id", Uuid), Column("payload", LargeBinary), Column("created_at", DateTime(timezone=True)),
)  # fmt: skip
_SAVE_PENDING = Query(insert(_pending).values(id=bindparam("event_id"), payload=bindparam("payload")))
_moved = delete(_pending).where(_pending.c.id == bindparam("event_id")).returning(_pending.c.id).cte("moved")
_COLUMNS = ["topic", "payload"]
_MOVE_TO_OUTBOX = Query(
    insert(outbox)
    .from_select(
        _COLUMNS,
        select(literal(TOPIC), bindparam("payload", type_=LargeBinary))
        .select_from(_moved)
        .where(func.set_config("synchronous_commit", "off", True).is_not(None)),
    )
    .returning(outbox.c.position)
)
_WRITE_TO_OUTBOX = Query(
    insert(outbox).values(topic=TOPIC, payload=bindparam("payload")).add_cte(_moved).returning(outbox.c.position)
)
_oldest = (
    select(_pending.c.id)
    .where(_pending.c.created_at < func.now() - _ABANDONED_AFTER)
    .limit(_BATCH_SIZE)
    .with_for_update(skip_locked=True)
)
_abandoned = delete(_pending).where(_pending.c.id.in_(_oldest)).returning(_pending.c.payload).cte("abandoned")
_SWEEP = Query(
    insert(outbox).from_select(_COLUMNS, select(literal(TOPIC), _abandoned.c.payload)).returning(outbox.c.position)
)

_left_pending = Counter("audit_left_pending_total", "Events of changes that are left to the sweep")
_lost = Counter("audit_lost_total", "Events of calls that changed nothing and could not be recorded")
_log = logger(__name__)


class Entry(Protocol):
    """The audit entry of one call."""

    @property
    def is_pending(self) -> bool:
        """Whether the call may have changed something; then it must be recorded whatever its outcome."""
        ...

    def record(self, event: Event) -> None:
        """Records the event of a finished call; never raises."""
        ...


class AuditTrail(Protocol):
    """Records calls."""

    @contextmanager
    def entry(self, pending_event: Callable[[], Event]) -> Iterator[Entry]:
        """Opens the entry of the call that this block runs; `pending_event` makes its event before the outcome."""
        ...

    def run(self, stop: threading.Event) -> None:
        """Moves the events of abandoned calls to the outbox until `stop` is set."""
        ...


class PostgresAuditTrail(AuditTrail):
    """Records calls in the database that they change."""

    def __init__(self, db: Database) -> None:
        self._db = db

    @override
    @contextmanager
    def entry(self, pending_event: Callable[[], Event]) -> Iterator["PostgresEntry"]:
        entry = PostgresEntry(self._db, pending_event)
        token = before_commit.set(entry.save_pending)
        try:
            yield entry
        finally:
            before_commit.reset(token)

    @override
    def run(self, stop: threading.Event) -> None:
        while not stop.wait(_SWEEP_INTERVAL_S):
            try:
                self.sweep()
            except AppError as error:
                _log.warning("audit_sweep_failed", error=error.message)

    def sweep(self) -> int:
        """Moves one batch of abandoned events to the outbox and returns their number."""
        return len(self._db.all(_SWEEP))


class PostgresEntry(Entry):
    """The audit entry of one call, in the database."""

    def __init__(self, db: Database, pending_event: Callable[[], Event]) -> None:
        self._db = db
        self._pending_event = pending_event
        self._is_committed = False
        self._is_pending = False

    @property
    @override
    def is_pending(self) -> bool:
        return self._is_pending

    def save_pending(self, tx: Transaction) -> None:
        """Stores the event in a transaction that is about to commit, unless an earlier one committed it."""
        if self._is_committed:
            return
        event = self._pending_event()
        tx.execute(_SAVE_PENDING, event_id=UUID(event.id), payload=event.SerializeToString())
        self._is_pending = True
        tx.after_commit.insert(0, self._mark_committed)

    def _mark_committed(self) -> None:
        self._is_committed = True

    @override
    def record(self, event: Event) -> None:
        # If the outcome of a commit is unknown, this statement replaces the pending event where it exists. If both
        # events are published, they have the same id, and consumers store one.
        try:
            query = _MOVE_TO_OUTBOX if self._is_committed else _WRITE_TO_OUTBOX
            # Runs outside a transaction, so the pool repeats it after a broken connection; both statements allow that.
            self._db.one(query, event_id=UUID(event.id), payload=event.SerializeToString())
        except Exception:  # noqa: BLE001 - the call has its answer already, and must not fail for its record
            (_left_pending if self._is_committed else _lost).inc()
            _log.error(
                "audit_not_recorded", action=event.audit_recorded.action, pending=self._is_committed, exc_info=True
            )
