"""A campaign and the rules of its life. Times are UTC; money is micros of the campaign's currency."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import Aborted, FailedPrecondition, InvalidArgument, InvalidField, NotFound
from adlib.money import to_decimal

# The field as it is spelled in JSON; name and target_url are left out because they may change at any time.
_LOCKED = {
    "budget_micros": "budgetMicros",
    "daily_budget_micros": "dailyBudgetMicros",
    "start_time": "startTime",
    "end_time": "endTime",
    "countries": "targeting",
    "devices": "targeting",
    "bid_model": "bid",
    "price_micros": "bid",
}
_TICK = timedelta(microseconds=1)
# Networks correct a day's figures for two days more, so three days after a campaign stopped no more spend can come.
STILL_READ = timedelta(days=3)


class State(StrEnum):
    """Where a campaign is in its life."""

    DRAFT = "DRAFT"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"


class Reason(StrEnum):
    """Why it is there."""

    USER = "USER"
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
    NOT_STARTED_YET = "NOT_STARTED_YET"
    ENDED = "ENDED"
    NETWORK_REJECTED = "NETWORK_REJECTED"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    PAYMENT_DISPUTED = "PAYMENT_DISPUTED"


class CampaignNotFound(NotFound):
    """No such campaign in the organization."""

    reason = ErrorReason.CAMPAIGN_NOT_FOUND

    def __init__(self, campaign_id: UUID) -> None:
        super().__init__("there is no such campaign in your organization", campaignId=campaign_id)


class CampaignStateInvalid(FailedPrecondition):
    """The verb does not apply in the campaign's state."""

    reason = ErrorReason.CAMPAIGN_STATE_INVALID

    def __init__(self, verb: str, state: State) -> None:
        super().__init__(f"a campaign that is {state} cannot be {verb}", state=state)


class CampaignEnded(FailedPrecondition):
    """Its end time has passed."""

    reason = ErrorReason.CAMPAIGN_ENDED

    def __init__(self, end_time: datetime) -> None:
        super().__init__(f"the campaign ended at {end_time:%Y-%m-%dT%H:%M:%SZ}", endTime=end_time.isoformat())


class FieldLocked(FailedPrecondition):
    """It holds money or is known to a network."""

    reason = ErrorReason.CAMPAIGN_FIELD_LOCKED

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} cannot be changed once the campaign has been started", field=field)


class BudgetTooSmall(InvalidField):
    """Less than a day's budget, or than what was delivered, which must be paid for."""

    def __init__(self, least_micros: int, currency_code: str, why: str) -> None:
        least = f"{to_decimal(least_micros):f} {currency_code}"
        super().__init__("budgetMicros", f"must be at least {least_micros}: {least} {why}")
        self.metadata = {"leastMicros": str(least_micros)}


class SpendChanged(Aborted):
    """The networks report more than was known when it was decided to give something back."""

    def __init__(self, campaign_id: UUID) -> None:
        super().__init__("the campaign has spent more meanwhile; nothing was given back", campaignId=campaign_id)


class EtagMismatch(Aborted):
    """The campaign was written since it was read."""

    reason = ErrorReason.ETAG_MISMATCH

    def __init__(self) -> None:
        super().__init__("the campaign has changed since you read it; read it again and repeat your change")


class NetworkNotAvailable(InvalidArgument):
    """None of the platform's networks."""

    reason = ErrorReason.NETWORK_NOT_AVAILABLE

    def __init__(self, network: str) -> None:
        super().__init__(f"networks: {network} is not available on this platform", network=network)


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """An advertiser's order to show ads; networks, devices and the bid's model by their names in the contract."""

    id: UUID
    organization_id: UUID
    name: str
    budget_micros: int
    daily_budget_micros: int | None = None
    currency_code: str
    start_time: datetime | None = None
    end_time: datetime | None = None
    target_url: str
    countries: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    bid_model: str
    price_micros: int
    networks: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    state: State = State.DRAFT
    state_reasons: tuple[Reason, ...] = ()
    version: int = 1
    hold_key: str | None = None
    hold_returning: bool = False
    stopped_at: datetime | None = None
    move_key: str | None = None
    moving_micros: int = 0
    wanted_budget_micros: int | None = None
    moves_back: bool = False
    is_limited: bool = False
    is_suspending: bool = False
    deleted_at: datetime | None = None

    @property
    def etag(self) -> str:
        """Changes with every change of the campaign, but not with its figures."""
        return str(self.version)

    def reasons(self, at: datetime) -> tuple[Reason, ...]:
        """Why it is in its state; that it has not started yet is seen from the time and never stored."""
        if self.state is State.ACTIVE and self.start_time is not None and self.start_time > at:
            return (Reason.NOT_STARTED_YET,)
        return self.state_reasons

    def has_ended(self, at: datetime) -> bool:
        """Whether its end time has passed."""
        return self.end_time is not None and self.end_time <= at

    def checked(self) -> Self:
        """Itself; INVALID_FIELD where its fields do not go together."""
        if self.start_time and self.end_time and self.end_time <= self.start_time:
            raise InvalidField("endTime", "must be after startTime")
        if self.daily_budget_micros is not None and self.daily_budget_micros > self.budget_micros:
            raise InvalidField("dailyBudgetMicros", "must not exceed budgetMicros")
        return self

    def edited(self, changes: Mapping[str, Any], etag: str, *, at: datetime, published: bool) -> Self:
        """With these fields changed; CAMPAIGN_NOT_FOUND, ETAG_MISMATCH, CAMPAIGN_FIELD_LOCKED.

        `published`: a network knows it, so that what it was told can no longer change, but for the budget.
        """
        if self.deleted_at:
            raise CampaignNotFound(self.id)
        if etag and etag != self.etag:
            raise EtagMismatch
        if self.state is not State.DRAFT or self.hold_key or published:
            for name, value in changes.items():
                free = name == "budget_micros" and self._budget_may_change
                if name in _LOCKED and value != getattr(self, name) and not free:
                    raise FieldLocked(_LOCKED[name])
        changed = self._changed(at, **changes)
        if "daily_budget_micros" not in changes:
            changed.check_budget_covers(0)
        return changed.checked()

    @property
    def _budget_may_change(self) -> bool:
        """Not while a start is half done, nor when it is over."""
        return self.state in (State.ACTIVE, State.PAUSED) or (self.state is State.DRAFT and not self.hold_key)

    def moves_money(self, changes: Mapping[str, Any], *, published: bool) -> bool:
        """Whether the ledger or a network must be asked before these fields can change."""
        wanted_micros = changes.get("budget_micros", self.budget_micros)
        is_known = self.state is not State.DRAFT or bool(self.hold_key) or published
        return is_known and (
            wanted_micros != self.budget_micros or ("budget_micros" in changes and bool(self.move_key))
        )

    def check_budget_covers(self, asked_micros: int) -> None:
        """INVALID_FIELD where this budget is less than a day's, or than what was spent and will be taken."""
        daily_micros = self.daily_budget_micros or 0
        why = "has been spent" if asked_micros >= daily_micros else "is the daily budget"
        if self.budget_micros < (least_micros := max(asked_micros, daily_micros)):
            raise BudgetTooSmall(least_micros, self.currency_code, why)

    def check_startable(self, at: datetime) -> None:
        """CAMPAIGN_STATE_INVALID, CAMPAIGN_ENDED."""
        if self.state is State.COMPLETED:
            raise CampaignStateInvalid("started", self.state)
        if self.end_time and self.has_ended(at):
            raise CampaignEnded(self.end_time)

    def starting(self, at: datetime) -> Self:
        """About to hold its budget, by a key that no other attempt has."""
        return self._changed(at, hold_key=f"hold:{self.id}:{self.version}")

    def returning_hold(self, at: datetime) -> Self:
        """About to give its hold back."""
        return self._changed(at, hold_returning=True)

    def without_hold(self, at: datetime) -> Self:
        """Nothing is held for it."""
        return self.unmoved(at)._changed(at, hold_key=None, hold_returning=False)

    def moving(self, amount_micros: int, at: datetime, *, wanted_budget_micros: int | None = None) -> Self:
        """About to hold so much more, or to give so much back, by a key of its own; and then to have this budget."""
        return self._changed(
            at,
            move_key=f"move:{self.id}:{self.version}",
            moving_micros=amount_micros,
            wanted_budget_micros=wanted_budget_micros,
            moves_back=False,
            is_limited=False,
        )

    @property
    def gives_back(self) -> bool:
        """Whether what is on its way leaves less to spend, so that the networks are to be limited first."""
        return self.moving_micros < 0 or (self.wanted_budget_micros or self.budget_micros) < self.budget_micros

    def limited(self, posted_micros: int, asked_micros: int, at: datetime) -> Self:
        """With what it gives back decided, by figures that were read after the networks were limited.

        INVALID_FIELD where more was delivered than the wanted budget; CONFLICT where more than the hold would cover.
        """
        if self.wanted_budget_micros is not None:
            replace(self, budget_micros=self.wanted_budget_micros).check_budget_covers(asked_micros)
        elif asked_micros > (self.budget_micros if self.hold_key else posted_micros):
            raise SpendChanged(self.id)
        return self._changed(at, is_limited=True)

    def moving_back(self, at: datetime) -> Self:
        """About to undo what it moved."""
        return self._changed(at, moves_back=True, is_limited=False)

    def limited_back(self, asked_micros: int, at: datetime) -> Self:
        """With what of a raise goes back decided; what networks delivered beyond the old budget stays held for it."""
        kept_micros = min(max(asked_micros - self.budget_micros, 0), self.moving_micros)
        return self._changed(
            at,
            budget_micros=self.budget_micros + kept_micros,
            moving_micros=self.moving_micros - kept_micros,
            is_limited=True,
        )

    def moved(self, at: datetime) -> Self:
        """With the budget that it was to have."""
        hold_key = self.hold_key or (self.move_key if self.moving_micros > 0 else None)
        budget_micros = self.wanted_budget_micros or self.budget_micros
        return self.unmoved(at)._changed(at, budget_micros=budget_micros, hold_key=hold_key)

    def unmoved(self, at: datetime) -> Self:
        """With nothing on its way."""
        return self._changed(
            at, move_key=None, moving_micros=0, wanted_budget_micros=None, moves_back=False, is_limited=False
        )

    @property
    def most_asked_micros(self) -> int | None:
        """What the ledger may be asked for in all once it is decided what is given back; None: any amount."""
        return self.wanted_budget_micros if self.is_limited and not self.moves_back else None

    def active(self, at: datetime) -> Self:
        """Its networks play it."""
        return self._changed(at, state=State.ACTIVE, state_reasons=(), stopped_at=None)

    def resuming(self, at: datetime) -> Self:
        """About to be played again: from now on it may deliver."""
        return self._changed(at, stopped_at=None)

    @property
    def is_resuming(self) -> bool:
        """Whether it was about to be played again, and its networks may or may not play it."""
        return self.state is State.PAUSED and self.stopped_at is None

    def check_pausable(self) -> None:
        """CAMPAIGN_STATE_INVALID."""
        if self.state is not State.ACTIVE and not self.is_resuming:
            raise CampaignStateInvalid("paused", self.state)

    def paused(self, reason: Reason, at: datetime) -> Self:
        """Its networks have stopped, and it can be started again."""
        return self._changed(at, state=State.PAUSED, state_reasons=(reason,), stopped_at=at, hold_returning=False)

    def suspended(self, at: datetime) -> Self:
        """Stopped and without a hold, since its organization owes money; to be started again by its people."""
        return self._changed(at, is_suspending=False)

    def completed(self, reason: Reason, at: datetime) -> Self:
        """Its networks have stopped for good."""
        stopped_at = self.stopped_at or at
        return self._changed(
            at, state=State.COMPLETED, state_reasons=(reason,), stopped_at=stopped_at, hold_returning=False
        )

    def check_deletable(self) -> None:
        """CAMPAIGN_STATE_INVALID."""
        if self.state is State.ACTIVE:
            raise CampaignStateInvalid("deleted; pause it first", self.state)

    def deleted(self, at: datetime) -> Self:
        """Gone for its organization; what was started is over."""
        over = self.completed(Reason.USER, at) if self.state is State.PAUSED else self
        return over._changed(at, deleted_at=at)

    def touched(self, at: datetime) -> Self:
        """With new figures, and so with a later update time."""
        return replace(self, updated_at=max(at, self.updated_at + _TICK))

    def _changed(self, at: datetime, **changes: Any) -> Self:
        return replace(self.touched(at), version=self.version + 1, **changes)
