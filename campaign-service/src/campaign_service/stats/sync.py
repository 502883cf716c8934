"""The job that brings the networks' figures home and has the ledger take what they grew by."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from uuid import UUID

from adplatform.campaign.v1.campaign_pb2 import Network as NetworkCode
from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.events.v1.events_pb2 import SpendPosted
from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib import jobs
from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import AppError, FailedPrecondition
from adlib.ids import NewId
from adlib.money import share
from adlib.outbox import Outbox
from adlib.telemetry import logger
from campaign_service.campaigns import store as campaigns
from campaign_service.campaigns.lifecycle import Lifecycle
from campaign_service.campaigns.model import STILL_READ, Campaign, Reason, State
from campaign_service.campaigns.service import Announcer
from campaign_service.clients.payment import MOST_ITEMS, Payments, Share, Spend, Taken, share_pb
from campaign_service.clients.publisher import Owner, Publishers
from campaign_service.deadlines import within
from campaign_service.delivery.network import Network
from campaign_service.stats import store
from campaign_service.stats.model import Figures, Slot, Spent, growth, within_room
from campaign_service.stats.store import Due, Earner, Posting

_MOST_CAMPAIGNS = 100
# Networks correct a day's figures for two days more.
_WINDOW = timedelta(days=2)
# A start that is older was left by a crash, or by a network that was down.
_HALF_DONE = timedelta(minutes=1)
# The job as a whole may outlast the patience of who called it.
_READ_S = 30.0
_CAMPAIGN_S = 10.0
_MOST_BATCHES = 20
_MOST_NAMED = 5
_ZERO = UUID(int=0)

_log = logger(__name__)


class Batch:
    """Campaigns that are read in one question to their network; the first that needs the answer asks."""

    def __init__(self, network: Network, dues: Sequence[Due], now: datetime) -> None:
        self._network = network
        self._dues = dues
        self.last = now.astimezone(UTC).date()
        self.first = self.last - _WINDOW

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


class SpendRefused(FailedPrecondition):
    """The ledger knows the keys of these postings with another amount or publisher."""

    reason = ErrorReason.IDEMPOTENCY_KEY_REUSED

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(
            f"the ledger has these spend_postings with another amount or publisher: {', '.join(keys[:_MOST_NAMED])}; "
            "what it took is stored, and the next run posts the rest with new keys"
        )


class StatsSync:
    """SyncStats. A second run at once, or again after a crash anywhere, posts nothing twice."""

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        lifecycle: Lifecycle,
        networks: Mapping[str, Network],
        payments: Payments,
        publishers: Publishers,
        clock: Clock,
        ids: NewId,
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._announcer = Announcer(outbox, clock)
        self._lifecycle = lifecycle
        self._networks = networks
        self._payments = payments
        self._publishers = publishers
        self._clock = clock
        self._ids = ids

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
                batch = Batch(network, dues, now)
                yield from (Reading(due, batch) for due in dues)
                after = dues[-1].campaign_id

    def _work(self, item: HalfDone | Reading) -> None:
        with within(_CAMPAIGN_S, own=True):
            if isinstance(item, HalfDone):
                self._lifecycle.carry_on(item.organization_id, item.campaign_id)
                return
            try:
                self._record(item.due, item.batch)
            finally:
                # What earlier runs left unposted does not wait for a network that is down.
                self._post(item.due)
            self._complete(item.due)

    def _record(self, due: Due, batch: Batch) -> None:
        """Stores what grew, together with what the ledger is to be asked for."""
        read = batch.of(due)
        now = self._clock.now()
        with self._db.transaction() as tx:
            campaign = campaigns.lock(tx, due.organization_id, due.campaign_id)
            grown = growth(store.known(tx, due, batch.first), store.asked_micros(tx, due, batch.first), read)
            store.put_figures(tx, due, grown.figures, now)
            owed_micros: Mapping[Slot, int] = grown.owed_micros
            if (most_micros := campaign.most_asked_micros) is not None:
                # What a budget that is being lowered has no room for is asked for by the next run, in vain.
                asked_micros = store.spent(tx, due.organization_id, due.campaign_id).asked_micros
                owed_micros = within_room(owed_micros, most_micros - asked_micros)
            store.add_postings(tx, due, {self._ids(): owed for owed in owed_micros.items()}, campaign, now)
            if grown.figures:
                self._announcer.put(tx, campaign.touched(now))

    def _post(self, due: Due) -> None:
        """Has the ledger take what it was not asked for yet, or was and did not answer."""
        for _ in range(_MOST_BATCHES):
            postings = store.unposted(self._db, due.organization_id, due.campaign_id, MOST_ITEMS)
            if not postings:
                return
            postings = self._resolved(postings)
            taken = self._payments.post([_spend(posting) for posting in postings])
            with self._db.transaction() as tx:
                campaign = campaigns.lock(tx, due.organization_id, due.campaign_id)
                postings = [self._split(tx, posting, taken[str(posting.id)]) for posting in postings]
                missing_micros = sum(self._settle(tx, posting, taken[str(posting.id)]) for posting in postings)
                self._announcer.put(tx, campaign.touched(self._clock.now()))
            if missing_micros:
                _log.warning("spend_not_held", campaign=str(due.campaign_id), amount_micros=missing_micros)
            if refused := [key for key, one in taken.items() if one.is_refused]:
                raise SpendRefused(refused)

    def _resolved(self, postings: Sequence[Posting]) -> Sequence[Posting]:
        """The postings with whose zones they are, stored so that a repeat tells the ledger the same."""
        zones = {id for posting in postings if not posting.resolved and (id := _zone(posting))}
        owners = self._publishers.owners(sorted(zones)) if zones else {}
        resolved = [posting if posting.resolved else _with_owner(posting, owners) for posting in postings]
        with self._db.transaction() as tx:
            for before, after in zip(postings, resolved, strict=True):
                if not before.resolved:
                    store.resolve(tx, after)
        return resolved

    def _split(self, tx: Transaction, posting: Posting, taken: Taken) -> Posting:
        """The posting as the ledger has it under its key; the rest is asked for with a key of its own."""
        if not taken.is_refused:
            return posting
        store.split(tx, posting, taken.micros, self._ids())
        return replace(posting, amount_micros=taken.micros)

    def _settle(self, tx: Transaction, posting: Posting, taken: Taken) -> int:
        """Stores and publishes what the ledger took; what it had nothing held for, 0 where that was stored before."""
        posted_micros = taken.micros
        earned = share(posted_micros, posting.earner.basis_points) if posting.earner else 0
        if not store.settle(tx, posting, posted_micros, earned):
            return 0
        missing_micros = posting.amount_micros - posted_micros
        if not posted_micros:
            return missing_micros
        mine = _share(posting)
        event = SpendPosted(
            campaign_id=str(posting.campaign_id),
            network=NetworkCode.Value(posting.network),
            day=posting.day.isoformat(),
            amount_micros=posted_micros,
            currency_code=posting.currency_code,
            publisher=share_pb(mine) if mine else None,
            publisher_micros=earned,
        )
        self._outbox.append(tx, posting.organization_id, event)
        return missing_micros

    def _complete(self, due: Due) -> None:
        """Ends a campaign that can deliver no more."""

        def why(campaign: Campaign) -> Reason | None:
            spent = store.spent(self._db, due.organization_id, due.campaign_id)
            return _over(campaign, spent, self._clock.now())

        if why(campaigns.kept(self._db, due.organization_id, due.campaign_id)):
            # Asked again when no other call changes the campaign: its budget may have been raised in between.
            self._lifecycle.complete(due.organization_id, due.campaign_id, why)


def _over(campaign: Campaign, spent: Spent, at: datetime) -> Reason | None:
    """Why a campaign can deliver no more; None where it can, or is done already."""
    if campaign.state not in (State.ACTIVE, State.PAUSED):
        return None
    if spent.posted_micros >= campaign.budget_micros and campaign.move_key is None:
        return Reason.BUDGET_EXHAUSTED
    return Reason.ENDED if campaign.has_ended(at) else None


def _zone(posting: Posting) -> UUID | None:
    """The zone, where its id can be one of ours."""
    try:
        return UUID(posting.zone_id)
    except ValueError:
        return None


def _with_owner(posting: Posting, owners: Mapping[UUID, Owner]) -> Posting:
    zone_id = _zone(posting)
    owner = owners.get(zone_id) if zone_id else None
    earner = Earner(owner.organization_id, owner.publisher_id, owner.basis_points) if owner else None
    return replace(posting, resolved=True, earner=earner)


def _share(posting: Posting) -> Share | None:
    earner, zone_id = posting.earner, _zone(posting)
    if earner is None or zone_id is None:
        return None
    return Share(earner.organization_id, earner.publisher_id, zone_id, earner.basis_points)


def _spend(posting: Posting) -> Spend:
    return Spend(
        str(posting.id),
        posting.organization_id,
        posting.campaign_id,
        posting.amount_micros,
        posting.currency_code,
        _share(posting),
    )
