"""Sends payouts in the background: at once when one is asked for, and again, after a pause, what could not be sent."""

import threading
from uuid import UUID

from adlib.errors import AppError
from adlib.telemetry import logger
from payment_service.payouts.service import PayoutService

_BATCH = 20
_IDLE_S = 2.0
_STOP_LOOK_S = 0.1
_log = logger(__name__)


class PayoutSender:
    """Any number of processes may run one: an attempt is claimed before it is made."""

    def __init__(self, payouts: PayoutService) -> None:
        self._payouts = payouts

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set."""
        while not stop.is_set():
            self._payouts.to_send.clear()
            try:
                for payout_id in self._payouts.unsent(_BATCH):
                    if stop.is_set():
                        return
                    self._attempt_one(payout_id)
            except AppError as error:
                _log.warning("payout_sender_waits", error=error.message)
            self._wait(stop)

    def _attempt_one(self, payout_id: UUID) -> None:
        try:
            self._payouts.attempt(payout_id)
        except AppError:
            return  # it has been logged, and is due again after its pause
        except Exception:  # noqa: BLE001 - a fault with one payout must not stop the others; its lease brings it back
            _log.error("payout_attempt_failed", payout=str(payout_id), exc_info=True)

    def _wait(self, stop: threading.Event) -> None:
        for _ in range(round(_IDLE_S / _STOP_LOOK_S)):
            if stop.is_set() or self._payouts.to_send.wait(_STOP_LOOK_S):
                return
