"""Records publishers' earnings."""

from collections.abc import Iterable

from adlib.clock import Clock
from adlib.db import Database
from adlib.inbox import claim_event
from adlib.telemetry import logger
from publisher_service.earnings import store
from publisher_service.earnings.model import Earning

_CONSUMER = "earnings"

_log = logger(__name__)


class EarningService:
    """Records each event once."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def credit(self, earnings: Iterable[Earning]) -> None:
        """Adds the earnings whose events were not recorded before."""
        # A fixed order, so that two workers with the same zones cannot deadlock.
        ordered = sorted(earnings, key=lambda one: (one.publisher_id, one.currency_code, one.day, one.zone_id))
        now = self._clock.now()
        with self._db.transaction() as tx:
            for earning in ordered:
                is_new = claim_event(tx, _CONSUMER, earning.event_id, earning.content)
                if is_new and not store.credit(tx, earning, now):
                    _log.error("earning_of_another_organization", event_id=str(earning.event_id))
