"""Consumes DebtChanged events of payment-service (topic "payment")."""

from collections.abc import Sequence
from uuid import UUID

from adplatform.events.v1.events_pb2 import Event

from campaign_service.debts.service import DebtService


class DebtHandler:
    """Suspends the campaigns of organizations in debt; ignores the topic's other events."""

    def __init__(self, debts: DebtService) -> None:
        self._debts = debts

    def __call__(self, payloads: Sequence[bytes]) -> None:
        """Handles a batch of messages."""
        for event in map(Event.FromString, payloads):
            if event.HasField("debt_changed") and event.debt_changed.debt_micros > 0:
                self._debts.suspend(UUID(event.organization_id), event.debt_changed.currency_code)
