"""The transactional outbox: events are stored with the change they describe, and published afterwards."""

import threading
import time
from uuid import UUID

from adplatform.events.v1 import events_pb2
from google.protobuf.message import Message
from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Table, Text, bindparam, delete, insert, select

from adlib.bus import Bus
from adlib.clock import Clock
from adlib.db import Database, Query, Transaction
from adlib.errors import AppError
from adlib.ids import NewId, new_id
from adlib.retention import NotPurged
from adlib.telemetry import logger, request_id

RETENTION = NotPurged("outbox", "a row is deleted when its event is published")

_BATCH_SIZE = 500
# Another process may append events without notifying this one.
_POLL_INTERVAL_S = 1.0

table = Table(
    "outbox", MetaData(), Column("position", BigInteger), Column("topic", Text), Column("payload", LargeBinary)
)  # fmt: skip
_APPEND = Query(insert(table).values(topic=bindparam("topic"), payload=bindparam("payload")))
_NEXT = Query(select(table).order_by(table.c.position).limit(_BATCH_SIZE).with_for_update())
_DELETE = Query(delete(table).where(table.c.position == bindparam("at")))

_PAYLOADS = {
    kind.full_name: field.name
    for field in events_pb2.Event.DESCRIPTOR.oneofs_by_name["payload"].fields
    if (kind := field.message_type)
}

_log = logger(__name__)


class Outbox:
    """Stores the events of a service's use cases for one topic."""

    def __init__(self, topic: str, clock: Clock, ids: NewId = new_id) -> None:
        self.topic = topic
        self._clock = clock
        self._ids = ids
        self.appended = threading.Event()

    def append(self, tx: Transaction, organization_id: UUID, payload: Message) -> None:
        """Stores an `Event` with this payload, which is published after the transaction has committed."""
        event = events_pb2.Event(id=str(self._ids()), organization_id=str(organization_id), request_id=request_id.get())
        event.time.FromDatetime(self._clock.now())
        getattr(event, _PAYLOADS[payload.DESCRIPTOR.full_name]).CopyFrom(payload)
        self.append_message(tx, event)

    def append_message(self, tx: Transaction, message: Message) -> None:
        """Stores a message unchanged, for topics of another type than `Event`."""
        tx.execute(_APPEND, topic=self.topic, payload=message.SerializeToString())
        tx.after_commit.append(self.appended.set)


class Relay:
    """Publishes the events of the outbox in order, at least once; one relay per database is active at a time."""

    def __init__(self, db: Database, bus: Bus, outbox: Outbox) -> None:
        self._db = db
        self._bus = bus
        self._appended = outbox.appended

    def run(self, stop: threading.Event) -> None:
        """Publishes until `stop` is set."""
        while not stop.is_set():
            try:
                with self._db.advisory_lock("outbox-relay") as acquired:
                    while acquired and not stop.is_set():
                        self._appended.clear()
                        if self.publish_batch() < _BATCH_SIZE:
                            self._wait(stop)
            except AppError as error:
                _log.warning("outbox_relay_retrying", error=error.message)
            stop.wait(_POLL_INTERVAL_S)

    def _wait(self, stop: threading.Event) -> None:
        """Waits until this process appends an event, the poll interval ends or `stop` is set."""
        end = time.monotonic() + _POLL_INTERVAL_S
        while time.monotonic() < end and not stop.is_set() and not self._appended.wait(0.05):
            pass

    def publish_batch(self) -> int:
        """Publishes a batch of the oldest events and returns their number."""
        with self._db.transaction() as tx:
            # Rows are locked, because a relay whose connection broke has lost the advisory lock without noticing.
            rows = tx.all(_NEXT)
            for topic in dict.fromkeys(row.topic for row in rows):
                self._bus.publish(topic, [row.payload for row in rows if row.topic == topic])
            if rows:
                tx.execute_many(_DELETE, [{"at": row.position} for row in rows])
        return len(rows)
