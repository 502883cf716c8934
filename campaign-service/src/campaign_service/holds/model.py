"""The hold that a campaign should have, and discrepancies with the ledger."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from campaign_service.campaigns.model import FIGURES_FINAL_AFTER, State

# Reads of two services are not simultaneous, and a call that was cut off may take effect a little later.
_SETTLING_TIME = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class HoldState:
    """The part of a campaign that determines its expected hold."""

    id: UUID
    organization_id: UUID
    currency_code: str
    state: State
    budget_micros: int
    posted_micros: int
    # Whether spend is waiting to be posted.
    has_unposted_spend: bool
    hold_key: str | None
    is_releasing_hold: bool
    budget_change_key: str | None
    is_suspending: bool
    stopped_at: datetime | None
    updated_at: datetime
    version: int

    def is_changing(self, since: datetime) -> bool:
        """Whether the hold may have changed since then, or is about to change."""
        is_starting = self.state is State.DRAFT and self.hold_key is not None
        is_pending = (
            is_starting
            or self.has_unposted_spend
            or self.is_releasing_hold
            or self.is_suspending
            or self.budget_change_key is not None
        )
        return is_pending or self.updated_at > since - _SETTLING_TIME

    def expected_micros(self, at: datetime) -> int:
        """The hold that the campaign should have in the ledger."""
        awaits_figures = self.stopped_at is None or self.stopped_at > at - FIGURES_FINAL_AFTER
        # A PAUSED campaign without a key has paid a debt with its hold; the next start holds the budget again.
        may_spend = self.hold_key is not None and (
            self.state in (State.ACTIVE, State.PAUSED) or (self.state is State.COMPLETED and awaits_figures)
        )
        return max(self.budget_micros - self.posted_micros, 0) if may_spend else 0


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A campaign whose hold in the ledger differs from the expected one; `state` is None for an unknown campaign."""

    campaign_id: UUID
    held_micros: int
    state: HoldState | None
    expected_micros: int = 0

    def __str__(self) -> str:
        return f"hold of campaign {self.campaign_id}"
