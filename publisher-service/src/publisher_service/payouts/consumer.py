"""What payment-service tells of payouts (topic "payment")."""

from collections.abc import Sequence
from uuid import UUID

from adplatform.events.v1.events_pb2 import Event, PayoutSettled

from publisher_service.payouts.model import Outcome
from publisher_service.payouts.service import PayoutService


class SettlementHandler:
    """Hands PayoutSettled on; other events of the topic are not for us."""

    def __init__(self, payouts: PayoutService) -> None:
        self._payouts = payouts

    def __call__(self, payloads: Sequence[bytes]) -> None:
        """Takes a batch of messages."""
        for event in map(Event.FromString, payloads):
            if event.HasField("payout_settled"):
                news = event.payout_settled
                outcome = Outcome(PayoutSettled.Outcome.Name(news.outcome))
                self._payouts.settle(UUID(news.payout_id), outcome, news.reason)
