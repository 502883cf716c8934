"""SweepHolds: compares the ledger's holds with the campaigns and repairs discrepancies."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib import jobs
from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import Aborted
from adlib.telemetry import logger
from campaign_service.budgets.service import BudgetChanges
from campaign_service.campaigns.model import Campaign, State
from campaign_service.campaigns.service import CampaignWriter
from campaign_service.clients.payment import Hold, Payments
from campaign_service.deadlines import time_limit
from campaign_service.holds import store
from campaign_service.holds.model import Discrepancy, HoldState
from campaign_service.stops.service import CampaignStopper, HoldReleases

_PAGE_TIMEOUT_S = 30.0
_CAMPAIGN_TIMEOUT_S = 10.0
_PAGE_SIZE = 500
_REPAIRS = ("released", "held again", "paused")

_log = logger(__name__)


class UnknownCampaign(Exception):
    """The ledger has a hold for a campaign that this service does not have, or has for another organization."""

    def __init__(self, held_micros: int) -> None:
        super().__init__(f"the ledger holds {held_micros} micros for it, and there is no such campaign")


class HoldRepair:
    """Repairs the hold of one campaign."""

    def __init__(
        self,
        db: Database,
        writer: CampaignWriter,
        budgets: BudgetChanges,
        stopper: CampaignStopper,
        releases: HoldReleases,
    ) -> None:
        self._db = db
        self._writer = writer
        self._budgets = budgets
        self._stopper = stopper
        self._releases = releases

    def repair(self, item: Discrepancy, state: HoldState) -> str:
        """Repairs the hold under the campaign's lock; returns the result, or "busy" if it has changed."""
        try:
            with (
                time_limit(_CAMPAIGN_TIMEOUT_S, replaces=True),
                self._writer.campaign_lock(state.organization_id, state.id, include_deleted=True) as campaign,
            ):
                if store.by_id_any_tenant(self._db, [campaign.id]).get(campaign.id) != state:
                    return "busy"
                done = self._repair(campaign, item)
        except Aborted:
            return "busy"
        _log.warning(
            "hold_repaired", campaign=str(campaign.id), state=campaign.state, held_micros=item.held_micros,
            expected_micros=item.expected_micros, done=done,
        )  # fmt: skip
        return done

    def _repair(self, campaign: Campaign, item: Discrepancy) -> str:
        if campaign.state is State.COMPLETED and campaign.hold_key and not item.expected_micros:
            self._releases.release(campaign)
            return "released"
        missing_micros = item.expected_micros - item.held_micros
        campaign = self._budgets.begin_repair(campaign, missing_micros)
        if missing_micros < 0:
            self._budgets.complete(campaign)
            return "released"
        return "held again" if self._stopper.settle_or_pause(campaign) else "paused"


class SweepHolds:
    """The job. Campaigns that change while it runs are left for the next run."""

    def __init__(self, db: Database, payments: Payments, repair: HoldRepair, clock: Clock) -> None:
        self._db = db
        self._payments = payments
        self._repair = repair
        self._clock = clock

    def run(self) -> JobResult:
        """Compares every hold, and every campaign that should have one; the message counts the repairs and failures."""
        found: Counter[str] = Counter()
        result = jobs.run(
            self._db,
            "sweep-holds",
            lambda: self._discrepancies(found),
            lambda item: found.update([self._work(item, found)]),
        )
        if "compared" in found:
            result.message = _message(found, result.stats.error_count)
        return result

    def _discrepancies(self, found: Counter[str]) -> Iterator[Discrepancy]:
        started = self._clock.now()
        found["compared"] = 0
        seen: set[UUID] = set()
        for holds in self._pages():
            states = store.by_id_any_tenant(self._db, [hold.campaign_id for hold in holds])
            for hold in holds:
                state = states.get(hold.campaign_id)
                if state is None or not _belongs_to(hold, state):
                    yield Discrepancy(hold.campaign_id, hold.held_micros, None)
                else:
                    seen.add(state.id)
                    yield from _compare(state, hold.held_micros, started, found)
        after = UUID(int=0)
        while running := store.running_any_tenant(self._db, after, _PAGE_SIZE):
            for state in running:
                if state.id not in seen:
                    yield from _compare(state, 0, started, found)
            after = running[-1].id

    def _pages(self) -> Iterator[Sequence[Hold]]:
        pages = self._payments.holds()
        while True:
            with time_limit(_PAGE_TIMEOUT_S, replaces=True):
                page = next(pages, None)
            if page is None:
                return
            yield page

    def _work(self, item: Discrepancy, found: Counter[str]) -> str:
        if item.state is None:
            found["unknown"] += 1
            _log.error("hold_of_unknown_campaign", campaign=str(item.campaign_id), held_micros=item.held_micros)
            raise UnknownCampaign(item.held_micros)
        return self._repair.repair(item, item.state)


def _belongs_to(hold: Hold, state: HoldState) -> bool:
    return (hold.organization_id, hold.currency_code) == (state.organization_id, state.currency_code)


def _compare(state: HoldState, held_micros: int, at: datetime, found: Counter[str]) -> Iterator[Discrepancy]:
    """The discrepancy, if there is one; a campaign that is changing is counted as busy."""
    found["compared"] += 1
    expected_micros = state.expected_micros(at)
    if held_micros == expected_micros:
        return
    if state.is_changing(at):
        found["busy"] += 1
    else:
        yield Discrepancy(state.id, held_micros, state, expected_micros)


def _message(found: Counter[str], failed: int) -> str:
    """Such as "3 repaired: 1 released, 2 held again; 1 unknown; 812 compared"."""
    repairs = [f"{found[kind]} {kind}" for kind in _REPAIRS if found[kind]]
    parts = [f"{sum(found[kind] for kind in _REPAIRS)} repaired" + (f": {', '.join(repairs)}" if repairs else "")]
    parts += [f"{found['unknown']} unknown"] * bool(found["unknown"])
    parts += [f"{found['busy']} being changed, left for the next run"] * bool(found["busy"])
    parts += [f"{failed - found['unknown']} failed"] * (failed > found["unknown"])
    return f"{'; '.join(parts)}; {found['compared']} compared"
