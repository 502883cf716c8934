"""Reads a subscription and hands its messages to a handler, until it is told to stop."""

import threading
from collections.abc import Callable, Sequence

from adlib.bus.protocol import Delivery, Subscription
from adlib.errors import AppError, DeadlineExceeded, Unavailable
from adlib.telemetry import logger

Handler = Callable[[Sequence[bytes]], None]

_RETRY_S = 1.0
_log = logger(__name__)


class Consumer:
    """Runs a handler over a subscription.

    The handler takes a batch and must be idempotent. A batch that fails is tried again one by one, so that one bad
    message does not hold up the others; what fails then is received again later, and at last becomes a dead letter.
    """

    def __init__(self, subscription: Subscription, handle: Handler, *, batch: int = 100, wait_ms: int = 1000) -> None:
        self._subscription = subscription
        self._handle = handle
        self._batch = batch
        self._wait_ms = wait_ms
        self._held: Sequence[Delivery] = ()

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set."""
        while not stop.is_set():
            try:
                self.run_once(self._wait_ms)
            except AppError as error:
                _log.warning("consumer_waits", error=error.message)
                stop.wait(_RETRY_S)

    def run_once(self, wait_ms: int = 0) -> int:
        """Receives and handles one batch; how many messages were done.

        UNAVAILABLE, DEADLINE_EXCEEDED where something that the handler needs does not answer: the batch is held and
        tried again, so that an outage does not use up its tries.
        """
        self._held = self._held or self._subscription.receive(self._batch, wait_ms)
        if not self._held:
            return 0
        done = self._held if self._succeeds(self._held) else [one for one in self._held if self._succeeds([one])]
        self._held = ()
        self._subscription.acknowledge(done)
        return len(done)

    def _succeeds(self, deliveries: Sequence[Delivery]) -> bool:
        try:
            self._handle([delivery.payload for delivery in deliveries])
        except (Unavailable, DeadlineExceeded):
            raise
        except Exception:  # noqa: BLE001 - whatever a handler raises, the message stays on the bus and is tried again
            _log.warning("message_failed", count=len(deliveries), first=deliveries[0].id, exc_info=True)
            return False
        return True
