"""A campaign and its state machine. Times are UTC; amounts are micros of the campaign's currency."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import Aborted, FailedPrecondition, InvalidArgument, InvalidField, NotFound
from adlib.money import to_decimal

# Fields that cannot change once a network may know them, with their JSON names. `name` and `target_url` always can.
_LOCKED_FIELDS = {
    "budget_micros": "budgetMicros",
    "daily_budget_micros": "dailyBudgetMicros",
    "start_time": "startTime",
    "end_time": "endTime",
    "countries": "targeting",
    "devices": "targeting",
    "bid_model": "bid",
    "price_micros": "bid",
}
# The least difference between the update times of two events.
_MIN_UPDATE_INTERVAL = timedelta(microseconds=1)
# Networks correct a day's figures for two more days, so figures are final three days after a campaign has stopped.
FIGURES_FINAL_AFTER = timedelta(days=3)


class State(StrEnum):
    """A campaign's state."""

    DRAFT = "DRAFT"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"


class Reason(StrEnum):
    """Why a campaign is in its state."""

    USER = "USER"
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
    NOT_STARTED_YET = "NOT_STARTED_YET"
    ENDED = "ENDED"
    NETWORK_REJECTED = "NETWORK_REJECTED"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    PAYMENT_DISPUTED = "PAYMENT_DISPUTED"


class CampaignNotFound(NotFound):
    """The organization has no such campaign."""

    reason = ErrorReason.CAMPAIGN_NOT_FOUND

    def __init__(self, campaign_id: UUID) -> None:
        super().__init__("there is no such campaign in your organization", campaignId=campaign_id)


class CampaignStateInvalid(FailedPrecondition):
    """The operation is not allowed in the campaign's state."""

    reason = ErrorReason.CAMPAIGN_STATE_INVALID

    def __init__(self, verb: str, state: State) -> None:
        super().__init__(f"a campaign that is {state} cannot be {verb}", state=state)


class CampaignEnded(FailedPrecondition):
    """The campaign's end time has passed."""

    reason = ErrorReason.CAMPAIGN_ENDED

    def __init__(self, end_time: datetime) -> None:
        super().__init__(f"the campaign ended at {end_time:%Y-%m-%dT%H:%M:%SZ}", endTime=end_time.isoformat())


class FieldLocked(FailedPrecondition):
    """The campaign has a hold, or a network knows it."""

    reason = ErrorReason.CAMPAIGN_FIELD_LOCKED

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} cannot be changed once the campaign has been started", field=field)


class BudgetTooSmall(InvalidField):
    """The budget is below the daily budget, or below the delivered spend, which has to be paid."""

    def __init__(self, least_micros: int, currency_code: str, why: str) -> None:
        least = f"{to_decimal(least_micros):f} {currency_code}"
        super().__init__("budgetMicros", f"must be at least {least_micros}: {least} {why}")
        self.metadata = {"leastMicros": str(least_micros)}


class SpendChanged(Aborted):
    """Networks report more spend than was known when the release was requested."""

    def __init__(self, campaign_id: UUID) -> None:
        super().__init__("the campaign has spent more in the meantime; nothing was released", campaignId=campaign_id)


class EtagMismatch(Aborted):
    """The campaign was changed after it was read."""

    reason = ErrorReason.ETAG_MISMATCH

    def __init__(self) -> None:
        super().__init__("the campaign has changed since you read it; read it again and repeat your change")


class NetworkNotAvailable(InvalidArgument):
    """The platform is not configured for the network."""

    reason = ErrorReason.NETWORK_NOT_AVAILABLE

    def __init__(self, network: str) -> None:
        super().__init__(f"networks: {network} is not available on this platform", network=network)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetChange:
    """A change of a campaign's hold that is in progress, and of its budget where `new_budget_micros` is set."""

    # The idempotency key of the ledger call.
    key: str
    # The increase of the hold; negative for a release.
    hold_micros: int
    new_budget_micros: int | None = None
    # A network refused the new budget, so the change is undone.
    is_reverting: bool = False
    # The networks were limited and then read, so the amount to release no longer changes.
    is_release_decided: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """An advertiser's campaign; networks, devices and the bid model by their names in the contract."""

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
    # Increases strictly with every event about the campaign, also with events that carry only new figures.
    updated_at: datetime
    state: State = State.DRAFT
    state_reasons: tuple[Reason, ...] = ()
    version: int = 1
    # The idempotency key of the budget's hold: stored before the ledger is called, None once there is no hold.
    hold_key: str | None = None
    # The hold is being released; its key is not used to start again.
    is_releasing_hold: bool = False
    # When the campaign last stopped being ACTIVE; None while it may deliver, and in DRAFT.
    stopped_at: datetime | None = None
    budget_change: BudgetChange | None = None
    # The organization is in debt: the campaign is to be stopped and its hold released.
    is_suspending: bool = False
    deleted_at: datetime | None = None

    @property
    def etag(self) -> str:
        """Changes with every change of the campaign, but not with its figures."""
        return str(self.version)

    def reasons(self, at: datetime) -> tuple[Reason, ...]:
        """The reasons of its state; NOT_STARTED_YET is derived from the time and never stored."""
        if self.state is State.ACTIVE and self.start_time is not None and self.start_time > at:
            return (Reason.NOT_STARTED_YET,)
        return self.state_reasons

    def has_ended(self, at: datetime) -> bool:
        """Whether its end time has passed."""
        return self.end_time is not None and self.end_time <= at

    @property
    def is_starting(self) -> bool:
        """Whether a first start is in progress: the budget is held, or about to be."""
        return self.state is State.DRAFT and self.hold_key is not None

    @property
    def is_resuming(self) -> bool:
        """Whether a start after a pause is in progress, so that its networks may or may not deliver."""
        return self.state is State.PAUSED and self.stopped_at is None

    def validated(self) -> Self:
        """The same campaign; INVALID_FIELD where its fields contradict each other."""
        if self.start_time and self.end_time and self.end_time <= self.start_time:
            raise InvalidField("endTime", "must be after startTime")
        if self.daily_budget_micros is not None and self.daily_budget_micros > self.budget_micros:
            raise InvalidField("dailyBudgetMicros", "must not exceed budgetMicros")
        return self

    def edited(self, changes: Mapping[str, Any], etag: str, *, at: datetime, is_published: bool) -> Self:
        """With these fields changed; CAMPAIGN_NOT_FOUND, ETAG_MISMATCH, CAMPAIGN_FIELD_LOCKED, INVALID_FIELD.

        `is_published`: a network knows the campaign, so only the budget and unlocked fields may change.
        """
        if self.deleted_at:
            raise CampaignNotFound(self.id)
        if etag and etag != self.etag:
            raise EtagMismatch
        if self.state is not State.DRAFT or self.hold_key or is_published:
            for name, value in changes.items():
                is_allowed = name == "budget_micros" and self._budget_may_change
                if name in _LOCKED_FIELDS and value != getattr(self, name) and not is_allowed:
                    raise FieldLocked(_LOCKED_FIELDS[name])
        changed = self._changed(at, **changes)
        if "daily_budget_micros" not in changes:
            changed.check_budget_covers(0)
        return changed.validated()

    @property
    def _budget_may_change(self) -> bool:
        """Whether the budget may change: not during a first start, and not once COMPLETED."""
        return self.state in (State.ACTIVE, State.PAUSED) or (self.state is State.DRAFT and not self.hold_key)

    def needs_budget_change(self, changes: Mapping[str, Any], *, is_published: bool) -> bool:
        """Whether the ledger or a network has to be called before these fields can change."""
        new_budget_micros = changes.get("budget_micros", self.budget_micros)
        is_known_outside = self.state is not State.DRAFT or bool(self.hold_key) or is_published
        return is_known_outside and (
            new_budget_micros != self.budget_micros or ("budget_micros" in changes and self.budget_change is not None)
        )

    def check_budget_covers(self, requested_micros: int) -> None:
        """Raises INVALID_FIELD if the budget is below the daily budget, or below the requested spend."""
        daily_micros = self.daily_budget_micros or 0
        why = "has been spent" if requested_micros >= daily_micros else "is the daily budget"
        if self.budget_micros < (least_micros := max(requested_micros, daily_micros)):
            raise BudgetTooSmall(least_micros, self.currency_code, why)

    def check_startable(self, at: datetime) -> None:
        """Raises CAMPAIGN_STATE_INVALID if it is COMPLETED, CAMPAIGN_ENDED if its end time has passed."""
        if self.state is State.COMPLETED:
            raise CampaignStateInvalid("started", self.state)
        if self.end_time and self.has_ended(at):
            raise CampaignEnded(self.end_time)

    def starting(self, at: datetime) -> Self:
        """With the idempotency key of a new hold, different at every attempt."""
        return self._changed(at, hold_key=f"hold:{self.id}:{self.version}")

    def releasing_hold(self, at: datetime) -> Self:
        """Marked so that its hold is released, even after a crash."""
        return self._changed(at, is_releasing_hold=True)

    def without_hold(self, at: datetime) -> Self:
        """Without a hold and without a budget change in progress."""
        return self._changed(at, hold_key=None, is_releasing_hold=False, budget_change=None)

    def with_budget_change(self, hold_micros: int, at: datetime, *, new_budget_micros: int | None = None) -> Self:
        """With a new change in progress: the hold grows by `hold_micros`, then the budget becomes the new one."""
        change = BudgetChange(
            key=f"move:{self.id}:{self.version}", hold_micros=hold_micros, new_budget_micros=new_budget_micros
        )
        return self._changed(at, budget_change=change)

    @property
    def is_lowering(self) -> bool:
        """Whether the change in progress lowers the hold or the budget, so that networks are limited first."""
        change = self.budget_change
        return change is not None and (
            change.hold_micros < 0 or (change.new_budget_micros or self.budget_micros) < self.budget_micros
        )

    def with_release_decided(self, posted_micros: int, requested_micros: int, at: datetime) -> Self:
        """With the release decided by figures that were read after the networks were limited.

        INVALID_FIELD where the delivered spend exceeds the new budget; CONFLICT where it exceeds the hold.
        """
        change = self._budget_change
        if change.new_budget_micros is not None:
            replace(self, budget_micros=change.new_budget_micros).check_budget_covers(requested_micros)
        elif requested_micros > (self.budget_micros if self.hold_key else posted_micros):
            raise SpendChanged(self.id)
        return self._changed(at, budget_change=replace(change, is_release_decided=True))

    def reverting(self, at: datetime) -> Self:
        """With the change in progress marked to be undone."""
        change = replace(self._budget_change, is_reverting=True, is_release_decided=False)
        return self._changed(at, budget_change=change)

    def with_revert_decided(self, requested_micros: int, at: datetime) -> Self:
        """With the part of a raise decided that is released; spend above the old budget raises it and stays held."""
        change = self._budget_change
        kept_micros = min(max(requested_micros - self.budget_micros, 0), change.hold_micros)
        return self._changed(
            at,
            budget_micros=self.budget_micros + kept_micros,
            budget_change=replace(change, hold_micros=change.hold_micros - kept_micros, is_release_decided=True),
        )

    def with_budget_changed(self, at: datetime) -> Self:
        """With the change in progress completed."""
        change = self._budget_change
        return self._changed(
            at,
            budget_micros=change.new_budget_micros or self.budget_micros,
            hold_key=self.hold_key or (change.key if change.hold_micros > 0 else None),
            budget_change=None,
        )

    def without_budget_change(self, at: datetime) -> Self:
        """With the change in progress dropped."""
        return self._changed(at, budget_change=None)

    @property
    def max_requested_micros(self) -> int | None:
        """The limit of requested spend, in micros, once a lower budget is decided; None: no limit."""
        change = self.budget_change
        if change is None or change.is_reverting or not change.is_release_decided:
            return None
        return change.new_budget_micros

    def active(self, at: datetime) -> Self:
        """ACTIVE: its networks deliver."""
        return self._changed(at, state=State.ACTIVE, state_reasons=(), stopped_at=None)

    def resuming(self, at: datetime) -> Self:
        """PAUSED, but possibly delivering from now on."""
        return self._changed(at, stopped_at=None)

    def check_pausable(self) -> None:
        """Raises CAMPAIGN_STATE_INVALID unless it is ACTIVE or resuming."""
        if self.state is not State.ACTIVE and not self.is_resuming:
            raise CampaignStateInvalid("paused", self.state)

    def paused(self, reason: Reason, at: datetime) -> Self:
        """PAUSED: its networks have stopped, and it can be started again."""
        return self._changed(at, state=State.PAUSED, state_reasons=(reason,), stopped_at=at, is_releasing_hold=False)

    def suspended(self, at: datetime) -> Self:
        """With the suspension for a debt completed; users can start it again."""
        return self._changed(at, is_suspending=False)

    def completed(self, reason: Reason, at: datetime) -> Self:
        """COMPLETED: its networks have stopped, and it cannot be started again."""
        stopped_at = self.stopped_at or at
        return self._changed(
            at, state=State.COMPLETED, state_reasons=(reason,), stopped_at=stopped_at, is_releasing_hold=False
        )

    def check_deletable(self) -> None:
        """Raises CAMPAIGN_STATE_INVALID if it is ACTIVE."""
        if self.state is State.ACTIVE:
            raise CampaignStateInvalid("deleted; pause it first", self.state)

    def deleted(self, at: datetime) -> Self:
        """Deleted, and COMPLETED where it was PAUSED."""
        stopped = self.completed(Reason.USER, at) if self.state is State.PAUSED else self
        return stopped._changed(at, deleted_at=at)

    def touched(self, at: datetime) -> Self:
        """With a later update time and the same etag: only its figures have changed."""
        return replace(self, updated_at=max(at, self.updated_at + _MIN_UPDATE_INTERVAL))

    @property
    def _budget_change(self) -> BudgetChange:
        if self.budget_change is None:
            raise ValueError(f"campaign {self.id} has no budget change in progress")
        return self.budget_change

    def _changed(self, at: datetime, **changes: Any) -> Self:
        return replace(self.touched(at), version=self.version + 1, **changes)
