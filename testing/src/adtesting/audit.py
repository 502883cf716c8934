"""An audit trail that a test can look at."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from adplatform.events.v1.events_pb2 import Event


class FakeAuditTrail:
    """Keeps what was recorded in a list."""

    is_pending = False

    def __init__(self) -> None:
        self.events: list[Event] = []

    @contextmanager
    def entry(self, _unanswered: Callable[[], Event]) -> Iterator["FakeAuditTrail"]:
        """The record of the call that is worked on in this block: this itself."""
        yield self

    def record(self, event: Event) -> None:
        """The call is over, and this is its event."""
        self.events.append(event)

    def run(self, stop: threading.Event) -> None:
        """Nothing is left behind here."""
        stop.wait()
