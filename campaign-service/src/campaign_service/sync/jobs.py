"""SyncStats: resumes interrupted operations, reads the networks' figures and charges the new spend."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import groupby
from uuid import UUID

from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib import jobs
from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import AppError
from campaign_service.campaigns import store as campaigns
from campaign_service.campaigns.model import FIGURES_FINAL_AFTER, Campaign, Reason, State
from campaign_service.deadlines import time_limit
from campaign_service.lifecycle.service import CampaignLifecycle
from campaign_service.networks.protocol import Network
from campaign_service.spend import store as spend_store
from campaign_service.spend.model import PlacementRef, Spent
from campaign_service.spend.service import CORRECTION_WINDOW, SpendPoster, SpendRecorder
from campaign_service.stats.model import Figures, Slot
from campaign_service.stops.service import CampaignStopper
from campaign_service.sync import store
from campaign_service.sync.model import CampaignToSync, PendingOperation

# A network answers for up to 100 campaigns a call.
_MAX_BATCH = 100
# An operation that has been in progress for longer was interrupted by a crash or an outage.
_INTERRUPTED_AFTER = timedelta(minutes=1)
# Limits of one item; the job as a whole may outlast its caller.
_READ_TIMEOUT_S = 30.0
_CAMPAIGN_TIMEOUT_S = 10.0


class Batch:
    """Campaigns whose figures are read from their network by one call, made when the first figures are requested."""

    def __init__(self, network: Network, campaigns: Sequence[CampaignToSync], first: date, last: date) -> None:
        self._network = network
        self._campaigns = campaigns
        self.first = first
        self.last = last

    def figures(self, campaign: CampaignToSync) -> Mapping[Slot, Figures]:
        """The figures of one campaign; UNAVAILABLE for every campaign of the batch if the network did not answer."""
        if isinstance(self._reported, AppError):
            raise self._reported
        reported = self._reported.get(campaign.external_id, {})
        return {slot: figures for slot, figures in reported.items() if self.first <= slot[0] <= self.last}

    @cached_property
    def _reported(self) -> Mapping[str, Mapping[Slot, Figures]] | AppError:
        try:
            with time_limit(_READ_TIMEOUT_S, replaces=True):
                return self._network.statistics([one.external_id for one in self._campaigns], self.first, self.last)
        except AppError as error:
            return error


@dataclass(frozen=True, slots=True)
class StatsRequest:
    """A campaign to read, with its batch."""

    campaign: CampaignToSync
    batch: Batch

    def __str__(self) -> str:
        return str(self.campaign)


class SpendSync:
    """Records and charges the spend of one campaign."""

    def __init__(self, recorder: SpendRecorder, poster: SpendPoster) -> None:
        self._recorder = recorder
        self._poster = poster

    def sync(self, request: StatsRequest) -> None:
        """Records the reported figures, then posts all unposted spend, even where the network does not answer."""
        one = request.campaign
        try:
            placement = PlacementRef(one.organization_id, one.campaign_id, one.network)
            self._recorder.record(placement, request.batch.figures(one))
        finally:
            self._poster.post(one.organization_id, one.campaign_id)


class SyncStats:
    """The job. Concurrent runs and runs after a crash post no amount twice."""

    def __init__(
        self,
        db: Database,
        lifecycle: CampaignLifecycle,
        stopper: CampaignStopper,
        networks: Mapping[str, Network],
        spend: SpendSync,
        clock: Clock,
    ) -> None:
        self._db = db
        self._lifecycle = lifecycle
        self._stopper = stopper
        self._networks = networks
        self._spend = spend
        self._clock = clock

    def run(self) -> JobResult:
        """Resumes interrupted operations, then syncs every campaign whose figures may have changed."""
        return jobs.run(self._db, "sync-stats", self._items, self._work)

    def _items(self) -> Iterator[PendingOperation | StatsRequest]:
        now = self._clock.now()
        final_before = now - FIGURES_FINAL_AFTER
        yield from store.pending_operations_any_tenant(self._db, now - _INTERRUPTED_AFTER, final_before)
        for network in self._networks.values():
            after = UUID(int=0)
            while found := store.campaigns_to_sync_any_tenant(
                self._db, network.code, now, final_before, after, _MAX_BATCH
            ):
                yield from _requests(network, found, now)
                after = found[-1].campaign_id

    def _work(self, item: PendingOperation | StatsRequest) -> None:
        with time_limit(_CAMPAIGN_TIMEOUT_S, replaces=True):
            if isinstance(item, PendingOperation):
                self._lifecycle.resume_operation(item.organization_id, item.campaign_id)
            else:
                self._spend.sync(item)
                self._complete_if_over(item.campaign)

    def _complete_if_over(self, one: CampaignToSync) -> None:
        def why(campaign: Campaign) -> Reason | None:
            spent = spend_store.spent(self._db, one.organization_id, one.campaign_id)
            return _completion_reason(campaign, spent, self._clock.now())

        if why(campaigns.get_with_deleted(self._db, one.organization_id, one.campaign_id)):
            # Checked again under the campaign's lock, because a raise may have changed the budget meanwhile.
            self._stopper.complete(one.organization_id, one.campaign_id, why)


def _requests(network: Network, found: Sequence[CampaignToSync], now: datetime) -> Iterator[StatsRequest]:
    """A request for each campaign, in batches by the first day to read: two days before it was last read.

    Campaigns with the same first day share a batch, so one that was not read for long does not prolong other calls.
    """
    last = now.astimezone(UTC).date()

    def first(one: CampaignToSync) -> date:
        return min((one.read_at - CORRECTION_WINDOW).astimezone(UTC).date(), last)

    for day, group in groupby(sorted(found, key=first), key=first):
        campaigns_of_day = list(group)
        batch = Batch(network, campaigns_of_day, day, last)
        yield from (StatsRequest(one, batch) for one in campaigns_of_day)


def _completion_reason(campaign: Campaign, spent: Spent, at: datetime) -> Reason | None:
    """The reason to complete the campaign; None if it can still deliver, has not started or is COMPLETED."""
    if campaign.state not in (State.ACTIVE, State.PAUSED):
        return None
    if spent.posted_micros >= campaign.budget_micros and campaign.budget_change is None:
        return Reason.BUDGET_EXHAUSTED
    return Reason.ENDED if campaign.has_ended(at) else None
