"""Carries on with payouts that an outage of payment-service or a crash left half done."""

import threading

from adlib.db import Database
from adlib.telemetry import logger
from publisher_service.payouts.service import PayoutService

_BATCH = 100
_log = logger(__name__)


class PayoutRetries:
    """Looks every `every_s` seconds; one worker of the service at a time."""

    def __init__(self, db: Database, payouts: PayoutService, *, every_s: float = 5.0) -> None:
        self._db = db
        self._payouts = payouts
        self._every_s = every_s

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set."""
        while not stop.wait(self._every_s):
            try:
                self.work_once()
            except Exception:  # noqa: BLE001 - whatever it was, the next look comes in a few seconds
                _log.warning("payout_retries_wait", exc_info=True)

    def work_once(self) -> None:
        """Tries each that is due once."""
        with self._db.advisory_lock("payout-retries") as alone:
            for payout_id in self._payouts.left_over(_BATCH) if alone else ():
                try:
                    self._payouts.finish(payout_id)
                except Exception as error:  # noqa: BLE001 - one payout's failure must not stop the others
                    _log.warning("payout_retry_failed", payout=str(payout_id), error=str(error))
