"""The consumer loop: receives messages from a subscription, passes them to a handler and acknowledges them."""

import threading
from collections.abc import Callable, Sequence

from adlib.bus.protocol import Delivery, Subscription
from adlib.errors import AppError, DeadlineExceeded, Unavailable
from adlib.telemetry import logger

Handler = Callable[[Sequence[bytes]], None]

_RETRY_S = 1.0
_log = logger(__name__)


class Consumer:
    """Passes the messages of a subscription to a handler in batches.

    The handler must be idempotent. If a batch fails, its messages are retried one by one, so that one bad message does
    not block the others. A message that still fails is delivered again later, and becomes a dead letter after the last
    delivery attempt.
    """

    def __init__(self, subscription: Subscription, handle: Handler, *, batch: int = 100, wait_ms: int = 1000) -> None:
        self._subscription = subscription
        self._handle = handle
        self._batch = batch
        self._wait_ms = wait_ms
        self._unhandled: Sequence[Delivery] = ()

    def run(self, stop: threading.Event) -> None:
        """Consumes until `stop` is set."""
        while not stop.is_set():
            try:
                self.run_once(self._wait_ms)
            except AppError as error:
                _log.warning("consumer_retrying", error=error.message)
                stop.wait(_RETRY_S)

    def run_once(self, wait_ms: int = 0) -> int:
        """Receives and handles one batch; returns the number of messages handled.

        Raises Unavailable or DeadlineExceeded if a dependency of the handler does not answer. The batch is then
        retried from memory, so that an outage does not count as delivery attempts.
        """
        self._unhandled = self._unhandled or self._subscription.receive(self._batch, wait_ms)
        batch = self._unhandled
        if not batch:
            return 0
        handled = batch if self._try_handle(batch) else [one for one in batch if self._try_handle([one])]
        self._unhandled = ()
        self._subscription.acknowledge(handled)
        return len(handled)

    def _try_handle(self, deliveries: Sequence[Delivery]) -> bool:
        """Whether the handler succeeded."""
        try:
            self._handle([delivery.payload for delivery in deliveries])
        except (Unavailable, DeadlineExceeded):
            raise
        except Exception:  # noqa: BLE001 - after any exception the message stays on the bus and is delivered again
            _log.warning("message_failed", count=len(deliveries), first=deliveries[0].id, exc_info=True)
            return False
        return True
