"""The job that brings the networks' figures home and has the ledger take what they grew by."""

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
from campaign_service.campaigns.lifecycle import Lifecycle
from campaign_service.campaigns.model import STILL_READ, Campaign, Reason, State
from campaign_service.deadlines import within
from campaign_service.delivery.network import Network
from campaign_service.spend.service import WINDOW, SpendService
from campaign_service.stats import store
from campaign_service.stats.model import Figures, Slot, Spent
from campaign_service.stats.store import Due

_MOST_CAMPAIGNS = 100
# A start that is older was left by a crash, or by a network that was down.
_HALF_DONE = timedelta(minutes=1)
# The job as a whole may outlast the patience of who called it.
_READ_S = 30.0
_CAMPAIGN_S = 10.0
_ZERO = UUID(int=0)


class Batch:
    """Campaigns that are read in one question to their network; the first that needs the answer asks."""

    def __init__(self, network: Network, dues: Sequence[Due], first: date, last: date) -> None:
        self._network = network
        self._dues = dues
        self.first = first
        self.last = last

    def of(self, due: Due) -> Mapping[Slot, Figures]:
        """The figures of one campaign; UNAVAILABLE for each of them where the network did not answer."""
        if isinstance(self._answer, AppError):
            raise self._answer
        read = self._answer.get(due.external_id, {})
        return {slot: figures for slot, figures in read.items() if self.first <= slot[0] <= self.last}

    @cached_property
    def _answer(self) -> Mapping[str, Mapping[Slot, Figures]] | AppError:
        try:
            with within(_READ_S, own=True):
                return self._network.statistics([due.external_id for due in self._dues], self.first, self.last)
        except AppError as error:
            return error


@dataclass(frozen=True, slots=True)
class Reading:
    """A campaign to read, with the batch that it is read in."""

    due: Due
    batch: Batch

    def __str__(self) -> str:
        return f"campaign {self.due.campaign_id} at {self.due.network}"


@dataclass(frozen=True, slots=True)
class HalfDone:
    """A campaign that a verb was not done with."""

    organization_id: UUID
    campaign_id: UUID

    def __str__(self) -> str:
        return f"campaign {self.campaign_id}, half done"


class StatsSync:
    """SyncStats. A second run at once, or again after a crash anywhere, posts nothing twice."""

    def __init__(
        self, db: Database, lifecycle: Lifecycle, networks: Mapping[str, Network], spend: SpendService, clock: Clock
    ) -> None:
        self._db = db
        self._lifecycle = lifecycle
        self._networks = networks
        self._spend = spend
        self._clock = clock

    def run(self) -> JobResult:
        """Carries on with what was left half done, then reads and posts every campaign that may have grown."""
        return jobs.run(self._db, "sync-stats", self._items, self._work)

    def _items(self) -> Iterator[HalfDone | Reading]:
        now = self._clock.now()
        for organization_id, campaign_id in campaigns.half_done_of_all(self._db, now - _HALF_DONE, now - STILL_READ):
            yield HalfDone(organization_id, campaign_id)
        for network in self._networks.values():
            after = _ZERO
            while dues := store.due_of_all(self._db, network.code, now, now - STILL_READ, after, _MOST_CAMPAIGNS):
                for batch_dues, batch in _batches(network, dues, now):
                    yield from (Reading(due, batch) for due in batch_dues)
                after = dues[-1].campaign_id

    def _work(self, item: HalfDone | Reading) -> None:
        with within(_CAMPAIGN_S, own=True):
            if isinstance(item, HalfDone):
                self._lifecycle.carry_on(item.organization_id, item.campaign_id)
                return
            try:
                self._spend.record(item.due, item.batch.of(item.due))
            finally:
                # What earlier runs left unposted does not wait for a network that is down.
                self._spend.post(item.due.organization_id, item.due.campaign_id)
            self._complete(item.due)

    def _complete(self, due: Due) -> None:
        """Ends a campaign that can deliver no more."""

        def why(campaign: Campaign) -> Reason | None:
            spent = store.spent(self._db, due.organization_id, due.campaign_id)
            return _over(campaign, spent, self._clock.now())

        if why(campaigns.kept(self._db, due.organization_id, due.campaign_id)):
            # Asked again when no other call changes the campaign: its budget may have been raised in between.
            self._lifecycle.complete(due.organization_id, due.campaign_id, why)


def _batches(network: Network, dues: Sequence[Due], now: datetime) -> Iterator[tuple[Sequence[Due], Batch]]:
    """The campaigns by the first day to read: two days before each was read last, however long the network was down.

    Those that were read lately are one batch, and one that was not does not make the others' answer long.
    """
    last = now.astimezone(UTC).date()

    def first(due: Due) -> date:
        return min((due.read_at - WINDOW).astimezone(UTC).date(), last)

    for day, group in groupby(sorted(dues, key=first), key=first):
        together = list(group)
        yield together, Batch(network, together, day, last)


def _over(campaign: Campaign, spent: Spent, at: datetime) -> Reason | None:
    """Why a campaign can deliver no more; None where it can, or is done already."""
    if campaign.state not in (State.ACTIVE, State.PAUSED):
        return None
    if spent.posted_micros >= campaign.budget_micros and campaign.move_key is None:
        return Reason.BUDGET_EXHAUSTED
    return Reason.ENDED if campaign.has_ended(at) else None
