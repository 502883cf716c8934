"""Sends payouts in the background: new ones at once, failed ones again after a pause."""

import threading
from uuid import UUID

from adlib.errors import AppError
from adlib.telemetry import logger
from payment_service.payouts.service import PayoutService

_MAX_BATCH = 20
_POLL_INTERVAL_S = 2.0
_STOP_CHECK_INTERVAL_S = 0.1
_log = logger(__name__)


class PayoutSender:
    """Sends due payouts. Any number of processes may run one, since each attempt is leased first."""

    def __init__(self, payouts: PayoutService) -> None:
        self._payouts = payouts

    def run(self, stop: threading.Event) -> None:
        """Sends due payouts until `stop` is set."""
        while not stop.is_set():
            self._payouts.to_send.clear()
            try:
                for payout_id in self._payouts.unsent(_MAX_BATCH):
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
            return  # logged, and due again after its pause
        except Exception:  # noqa: BLE001 - a failing payout must not stop the others; it is due again when its lease ends
            _log.error("payout_attempt_failed", payout=str(payout_id), exc_info=True)

    def _wait(self, stop: threading.Event) -> None:
        for _ in range(round(_POLL_INTERVAL_S / _STOP_CHECK_INTERVAL_S)):
            if stop.is_set() or self._payouts.to_send.wait(_STOP_CHECK_INTERVAL_S):
                return
