"""Retries payouts whose call to payment-service failed or was interrupted."""

import threading

from adlib.db import Database
from adlib.telemetry import logger
from publisher_service.payouts.service import PayoutService

_BATCH_SIZE = 100

_log = logger(__name__)


class PayoutRetries:
    """Polls every `every_s` seconds, in one process of the service at a time."""

    def __init__(self, db: Database, payouts: PayoutService, *, every_s: float = 5.0) -> None:
        self._db = db
        self._payouts = payouts
        self._every_s = every_s

    def run(self, stop: threading.Event) -> None:
        """Polls until `stop` is set."""
        while not stop.wait(self._every_s):
            try:
                self.run_once()
            except Exception:  # noqa: BLE001 - the next poll retries, whatever the error
                _log.warning("payout_retries_failed", exc_info=True)

    def run_once(self) -> None:
        """Resumes each payout that is due."""
        with self._db.advisory_lock("payout-retries") as is_locked:
            for payout_id in self._payouts.pending(_BATCH_SIZE) if is_locked else ():
                try:
                    self._payouts.resume(payout_id)
                except Exception as error:  # noqa: BLE001 - one payout's failure must not stop the others
                    _log.warning("payout_retry_failed", payout=str(payout_id), error=str(error))
