"""An audit trail in memory."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from adplatform.events.v1.events_pb2 import Event


class FakeAuditTrail:
    """Appends recorded events to `events`; the same object is the trail and the entry of every call."""

    is_pending = False

    def __init__(self) -> None:
        self.events: list[Event] = []

    @contextmanager
    def entry(self, _pending_event: Callable[[], Event]) -> Iterator["FakeAuditTrail"]:
        """Opens the entry of the call that this block runs."""
        yield self

    def record(self, event: Event) -> None:
        """Records the event of a finished call."""
        self.events.append(event)

    def run(self, stop: threading.Event) -> None:
        """Waits for `stop`, because there are no abandoned events."""
        stop.wait()
