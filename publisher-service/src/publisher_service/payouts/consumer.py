"""Consumes PayoutSettled events of payment-service (topic "payment")."""

from collections.abc import Sequence
from uuid import UUID

from adplatform.events.v1.events_pb2 import Event, PayoutSettled

from publisher_service.payouts.model import Outcome
from publisher_service.payouts.service import PayoutService


class SettlementHandler:
    """Applies outcomes to payouts; ignores the topic's other events."""

    def __init__(self, payouts: PayoutService) -> None:
        self._payouts = payouts

    def __call__(self, payloads: Sequence[bytes]) -> None:
        """Handles a batch of messages."""
        for event in map(Event.FromString, payloads):
            if event.HasField("payout_settled"):
                settled = event.payout_settled
                outcome = Outcome(PayoutSettled.Outcome.Name(settled.outcome))
                self._payouts.settle(UUID(settled.payout_id), outcome, settled.reason)
