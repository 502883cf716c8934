"""Works on debts that have changed, in the background."""

import threading

from adlib.errors import AppError
from adlib.telemetry import logger
from payment_service.debts.service import DebtService

_IDLE_S = 0.25
_FAILED_S = 1.0

_log = logger(__name__)


class DebtSettler:
    """Any number of processes may run one: what another has done already changes nothing."""

    def __init__(self, debts: DebtService) -> None:
        self._debts = debts

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set."""
        pause_s = 0.0
        while not stop.wait(pause_s):
            try:
                pause_s = 0.0 if self._debts.settle_marked() else _IDLE_S
            except AppError as error:
                _log.warning("debts_wait", error=error.message)
                pause_s = _FAILED_S
