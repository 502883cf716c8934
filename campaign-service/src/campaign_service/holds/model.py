"""What the ledger should hold for a campaign, and what is done where it does not."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from campaign_service.campaigns.model import STILL_READ, State

# Figures of two services are never of the same moment: a call that was cut off may take effect a little later.
_SETTLING = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a campaign stands, as far as its hold is concerned."""

    id: UUID
    organization_id: UUID
    currency_code: str
    state: State
    budget_micros: int
    posted_micros: int
    # Whether the ledger is still to be asked for something that was spent.
    is_posting: bool
    hold_key: str | None
    hold_returning: bool
    move_key: str | None
    is_suspending: bool
    stopped_at: datetime | None
    updated_at: datetime
    version: int

    def is_changing(self, since: datetime) -> bool:
        """Whether its hold may be other than it was then, or will be in a moment."""
        is_starting = self.state is State.DRAFT and self.hold_key is not None
        is_leaving = self.hold_returning or self.is_suspending
        is_moving = self.is_posting or is_leaving or self.move_key is not None or is_starting
        return is_moving or self.updated_at > since - _SETTLING

    def should_hold_micros(self, at: datetime) -> int:
        """What the ledger should hold for it."""
        is_read = self.stopped_at is None or self.stopped_at > at - STILL_READ
        # What is PAUSED without a key has paid a debt with its hold, and holds again when it is started.
        may_spend = self.hold_key is not None and (
            self.state in (State.ACTIVE, State.PAUSED) or (self.state is State.COMPLETED and is_read)
        )
        return max(self.budget_micros - self.posted_micros, 0) if may_spend else 0


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A campaign for which the ledger holds more or less than it should; None: a campaign that is not known here."""

    campaign_id: UUID
    held_micros: int
    standing: Standing | None
    should_hold_micros: int = 0

    def __str__(self) -> str:
        return f"hold of campaign {self.campaign_id}"
