"""Settles marked debts in the background."""

import threading

from adlib.errors import AppError
from adlib.telemetry import logger
from payment_service.debts.service import DebtService

_POLL_INTERVAL_S = 0.25
_RETRY_INTERVAL_S = 1.0

_log = logger(__name__)


class DebtSettler:
    """Polls for marked debts and settles them. Any number of processes may run one, since settling is idempotent."""

    def __init__(self, debts: DebtService) -> None:
        self._debts = debts

    def run(self, stop: threading.Event) -> None:
        """Runs until `stop` is set."""
        pause_s = 0.0
        while not stop.wait(pause_s):
            try:
                pause_s = 0.0 if self._debts.settle_marked() else _POLL_INTERVAL_S
            except AppError as error:
                _log.warning("debt_settler_waits", error=error.message)
                pause_s = _RETRY_INTERVAL_S
