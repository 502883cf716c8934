"""Consumes SpendPosted events of campaign-service (topic "campaign")."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from adplatform.events.v1.events_pb2 import Event

from publisher_service.earnings.model import Earning
from publisher_service.earnings.service import EarningService


class SpendHandler:
    """Records earnings; ignores spend without a publisher and the topic's other events."""

    def __init__(self, earnings: EarningService) -> None:
        self._earnings = earnings

    def __call__(self, payloads: Sequence[bytes]) -> None:
        """Handles a batch of messages."""
        events = [Event.FromString(payload) for payload in payloads]
        if found := [_earning(event) for event in events if _has_earnings(event)]:
            self._earnings.credit(found)


def _has_earnings(event: Event) -> bool:
    return event.HasField("spend_posted") and event.spend_posted.publisher_micros > 0


def _earning(event: Event) -> Earning:
    spend = event.spend_posted
    return Earning(
        event_id=UUID(event.id),
        organization_id=UUID(spend.publisher.organization_id),
        publisher_id=UUID(spend.publisher.publisher_id),
        zone_id=UUID(spend.publisher.zone_id),
        day=date.fromisoformat(spend.day),
        currency_code=spend.currency_code,
        amount_micros=spend.publisher_micros,
    )
