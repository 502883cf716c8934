"""What the ledger took for campaigns, from the bus into the warehouse, each exactly once."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from adplatform.campaign.v1.campaign_pb2 import Network
from adplatform.events.v1.events_pb2 import Event

from analytics_service.warehouse.model import Spend, Warehouse

TOPIC = "campaign"
GROUP = "analytics-spend"
BATCH = 1_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


class SpendIngest:
    """Handles batches of the topic `campaign`. A batch that comes again adds nothing."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def handle(self, payloads: Sequence[bytes]) -> None:
        """Stores the batch's spend; it is acknowledged only after this returns."""
        events = [Event.FromString(payload) for payload in payloads]
        self._warehouse.add_spend([_row(event) for event in events if event.WhichOneof("payload") == "spend_posted"])


def _row(event: Event) -> Spend:
    spend = event.spend_posted
    return Spend(
        event_id=event.id,
        time_micros=spent_at_micros(event.time.ToMicroseconds(), date.fromisoformat(spend.day)),
        organization_id=event.organization_id,
        campaign_id=spend.campaign_id,
        network=Network.Name(spend.network),
        zone_id=spend.publisher.zone_id,
        amount_micros=spend.amount_micros,
        currency_code=spend.currency_code,
    )


def spent_at_micros(posted_micros: int, day: date) -> int:
    """When it counts: when it was posted, but never outside of the day (UTC) that the network counts it to."""
    begins = (datetime.combine(day, time(), UTC) - _EPOCH) // _MICRO
    ends = begins + timedelta(days=1) // _MICRO
    return max(begins, min(posted_micros, ends - 1))
