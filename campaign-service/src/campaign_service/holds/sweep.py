"""The job that compares what the ledger holds for campaigns with how they stand, and repairs what disagrees."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from uuid import UUID

from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib import jobs
from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import Aborted
from adlib.telemetry import logger
from campaign_service.campaigns.lifecycle import Lifecycle
from campaign_service.campaigns.model import Campaign, State
from campaign_service.campaigns.moves import Moves
from campaign_service.campaigns.outside import alone
from campaign_service.clients.payment import Hold, Payments
from campaign_service.deadlines import within
from campaign_service.holds import store
from campaign_service.holds.model import Disagreement, Standing

_PAGE_S = 30.0
_CAMPAIGN_S = 10.0
_MOST_CAMPAIGNS = 500
_REPAIRS = ("released", "held again", "paused")

_log = logger(__name__)


class UnknownCampaign(Exception):
    """The ledger holds money for a campaign that is none of ours, or another organization's."""

    def __init__(self, held_micros: int) -> None:
        super().__init__(f"the ledger holds {held_micros} micros for it, and no such campaign is here")


class HoldsSweep:
    """SweepHolds. What is being changed while it looks is left for the next run."""

    def __init__(self, db: Database, payments: Payments, lifecycle: Lifecycle, moves: Moves, clock: Clock) -> None:
        self._db = db
        self._payments = payments
        self._lifecycle = lifecycle
        self._moves = moves
        self._clock = clock

    def run(self) -> JobResult:
        """Looks at every hold and every campaign that should have one, and says what it found."""
        found: Counter[str] = Counter()
        result = jobs.run(
            self._db,
            "sweep-holds",
            lambda: self._disagreements(found),
            lambda item: found.update([self._repair(item, found)]),
        )
        if "compared" in found:
            result.message = _message(found, result.stats.error_count)
        return result

    def _disagreements(self, found: Counter[str]) -> Iterator[Disagreement]:
        started = self._clock.now()
        found["compared"] = 0
        seen: set[UUID] = set()
        for holds in self._pages():
            standings = store.of_anyone(self._db, [hold.campaign_id for hold in holds])
            for hold in holds:
                standing = standings.get(hold.campaign_id)
                if standing is None or not _is_of(hold, standing):
                    yield Disagreement(hold.campaign_id, hold.held_micros, None)
                else:
                    seen.add(standing.id)
                    yield from _compared(standing, hold.held_micros, started, found)
        after = UUID(int=0)
        while spending := store.spending_of_all(self._db, after, _MOST_CAMPAIGNS):
            for standing in spending:
                if standing.id not in seen:
                    yield from _compared(standing, 0, started, found)
            after = spending[-1].id

    def _pages(self) -> Iterator[Sequence[Hold]]:
        pages = self._payments.holds()
        while True:
            with within(_PAGE_S, own=True):
                page = next(pages, None)
            if page is None:
                return
            yield page

    def _repair(self, item: Disagreement, found: Counter[str]) -> str:
        """Repairs it; what was done."""
        if item.standing is None:
            found["unknown"] += 1
            _log.error("hold_of_unknown_campaign", campaign=str(item.campaign_id), held_micros=item.held_micros)
            raise UnknownCampaign(item.held_micros)
        try:
            with within(_CAMPAIGN_S, own=True), _alone(self._db, item.standing) as campaign:
                # The same as when it was compared: nothing was spent, moved or begun in between.
                if store.of_anyone(self._db, [campaign.id]).get(campaign.id) != item.standing:
                    return "busy"
                done = self._put_right(campaign, item)
        except Aborted:
            return "busy"
        _log.warning(
            "hold_repaired", campaign=str(campaign.id), state=campaign.state, held_micros=item.held_micros,
            should_hold_micros=item.should_hold_micros, done=done,
        )  # fmt: skip
        return done

    def _put_right(self, campaign: Campaign, item: Disagreement) -> str:
        if campaign.state is State.COMPLETED and campaign.hold_key and not item.should_hold_micros:
            self._lifecycle.hold_returned(campaign)
            return "released"
        missing_micros = item.should_hold_micros - item.held_micros
        if missing_micros < 0:
            self._moves.finish(self._moves.begin_repair(campaign, missing_micros))
            return "released"
        if not self._lifecycle.settle_or_pause(self._moves.begin_repair(campaign, missing_micros)):
            return "paused"
        return "held again"


def _alone(db: Database, standing: Standing) -> AbstractContextManager[Campaign]:
    return alone(db, standing.organization_id, standing.id, deleted=True)


def _is_of(hold: Hold, standing: Standing) -> bool:
    return (hold.organization_id, hold.currency_code) == (standing.organization_id, standing.currency_code)


def _compared(standing: Standing, held_micros: int, at: datetime, found: Counter[str]) -> Iterator[Disagreement]:
    """The disagreement, if there is one; what changes meanwhile can be said to agree or not by the next run only."""
    found["compared"] += 1
    should_hold_micros = standing.should_hold_micros(at)
    if held_micros == should_hold_micros:
        return
    if standing.is_changing(at):
        found["busy"] += 1
    else:
        yield Disagreement(standing.id, held_micros, standing, should_hold_micros)


def _message(found: Counter[str], failed: int) -> str:
    """Such as "3 repaired: 1 released, 2 held again; 1 unknown"."""
    repairs = [f"{found[kind]} {kind}" for kind in _REPAIRS if found[kind]]
    said = [f"{sum(found[kind] for kind in _REPAIRS)} repaired" + (f": {', '.join(repairs)}" if repairs else "")]
    said += [f"{found['unknown']} unknown"] * bool(found["unknown"])
    said += [f"{found['busy']} being changed, left for the next run"] * bool(found["busy"])
    said += [f"{failed - found['unknown']} failed"] * (failed > found["unknown"])
    return f"{'; '.join(said)}; {found['compared']} compared"
