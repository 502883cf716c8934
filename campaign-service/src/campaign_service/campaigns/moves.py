"""Money on its way between an organization's wallet and a campaign's hold, while the campaign lives.

What is about to be asked is stored before it is asked, by a key of its own, so that whatever a crash leaves half done
is ended by the campaign's next verb, or by the job. A raise holds before it tells the networks. Whatever gives back
limits the networks first and then reads what they have delivered, and gives back only what that leaves: never may a
network spend what is not held, and never is what it has delivered given back.
"""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import InvalidField
from adlib.telemetry import logger
from campaign_service.campaigns import store
from campaign_service.campaigns.model import Campaign, SpendChanged, State
from campaign_service.campaigns.outside import Places, alone
from campaign_service.campaigns.service import Announcer
from campaign_service.clients.payment import HoldRefused, Payments
from campaign_service.delivery.network import NetworkRejected
from campaign_service.spend.service import SpendService
from campaign_service.stats import store as figures

_log = logger(__name__)


class Moves:
    """Changes of a budget with its hold, and repairs of a hold."""

    def __init__(
        self,
        db: Database,
        announcer: Announcer,
        payments: Payments,
        places: Places,
        spend: SpendService,
        clock: Clock,
    ) -> None:
        self._db = db
        self._announcer = announcer
        self._payments = payments
        self._places = places
        self._spend = spend
        self._clock = clock

    def edit(self, organization_id: UUID, campaign_id: UUID, changes: Mapping[str, Any], etag: str) -> Campaign:
        """Changes these fields, and the hold with the budget; all of it or nothing.

        CAMPAIGN_NOT_FOUND, ETAG_MISMATCH, CAMPAIGN_FIELD_LOCKED, INVALID_FIELD, INSUFFICIENT_FUNDS,
        ORGANIZATION_IN_DEBT, NETWORK_REJECTED; after UNAVAILABLE a repeat carries on where it stopped.
        """
        with self._db.transaction() as tx:
            campaign = store.lock(tx, organization_id, campaign_id)
            published = any(placement.external_id for placement in store.placements(tx, campaign))
            edited = campaign.edited(changes, etag, at=self._clock.now(), published=published)
            if not campaign.moves_money(changes, published=published):
                return self._announcer.put(tx, edited)
        with alone(self._db, organization_id, campaign_id) as campaign:
            campaign = self.settle(campaign)
            is_unheld = campaign.state is State.PAUSED and campaign.hold_key is None
            if is_unheld and changes["budget_micros"] > campaign.budget_micros:
                self.check_may_spend(campaign)
            with self._db.transaction() as tx:
                campaign = store.lock(tx, organization_id, campaign_id)
                now = self._clock.now()
                edited = campaign.edited(changes, etag, at=now, published=True)
                edited.check_budget_covers(figures.spent(tx, organization_id, campaign_id).asked_micros)
                more = edited.budget_micros - campaign.budget_micros if campaign.hold_key else 0
                campaign = campaign.moving(more, now, wanted_budget_micros=edited.budget_micros)
                store.put(tx, campaign)
            if not campaign.gives_back:
                return self.finish(campaign, changes)
            try:
                self.finish(campaign, changes)
            finally:
                # What it had delivered until it was limited is its publishers' as well.
                self._spend.try_to_post(organization_id, campaign_id)
            return store.get(self._db, organization_id, campaign_id)

    def check_may_spend(self, campaign: Campaign) -> int:
        """What is held for the campaign; ORGANIZATION_IN_DEBT."""
        return self._payments.held(campaign.organization_id, campaign.id, campaign.currency_code)

    def fund(self, campaign: Campaign) -> Campaign:
        """The PAUSED campaign with its budget held, also where its hold has paid a debt meanwhile.

        ORGANIZATION_IN_DEBT, INSUFFICIENT_FUNDS.
        """
        held_micros = self.check_may_spend(campaign)
        if campaign.hold_key:
            return campaign
        posted_micros = figures.spent(self._db, campaign.organization_id, campaign.id).posted_micros
        missing_micros = campaign.budget_micros - posted_micros - held_micros
        if missing_micros <= 0:
            return self._put(campaign, lambda one: one.starting(self._clock.now()))
        return self.finish(self.begin_repair(campaign, missing_micros))

    def begin_repair(self, campaign: Campaign, amount_micros: int) -> Campaign:
        """The campaign whose hold is about to grow by so much, or to shrink where that is below zero."""
        return self._put(campaign, lambda one: one.moving(amount_micros, self._clock.now()))

    def settle(self, campaign: Campaign) -> Campaign:
        """The campaign with nothing on its way, whether what was came through or was refused.

        INSUFFICIENT_FUNDS, ORGANIZATION_IN_DEBT where its hold is to be repaired and cannot be; it is not started
        without it.
        """
        try:
            return self.finish(campaign)
        except (HoldRefused, NetworkRejected, InvalidField, SpendChanged) as refused:
            campaign = store.kept(self._db, campaign.organization_id, campaign.id)
            if campaign.move_key:
                raise
            _log.info("budget_given_up", campaign=str(campaign.id), why=refused.message)
            return campaign

    def finish(self, campaign: Campaign, changes: Mapping[str, Any] | None = None) -> Campaign:
        """Ends what is on its way, if anything is, and changes these fields with it.

        INSUFFICIENT_FUNDS, ORGANIZATION_IN_DEBT, NETWORK_REJECTED; INVALID_FIELD, CONFLICT where more was delivered
        than what it should leave.
        """
        if campaign.move_key is None:
            return campaign
        refused = None
        if not campaign.moves_back:
            try:
                self._forward(campaign)
            except (NetworkRejected, InvalidField, SpendChanged) as error:
                refused = error
                campaign = self._put(campaign, lambda one: one.moving_back(self._clock.now()))
        if not campaign.moves_back:
            return self._done(campaign, changes or {})
        self._back(campaign)
        campaign = self._put(campaign, lambda one: one.unmoved(self._clock.now()))
        if refused:
            raise refused
        return campaign

    def _forward(self, campaign: Campaign) -> None:
        if campaign.moving_micros > 0:
            self._hold(campaign)
        if campaign.gives_back:
            if not campaign.is_limited:
                self._limit(campaign)
            if campaign.moving_micros < 0:
                self._release(campaign, f"{campaign.move_key}", -campaign.moving_micros)
        elif campaign.wanted_budget_micros is not None and campaign.state is not State.COMPLETED:
            self._places.set_budget(self._places.find(campaign), campaign.wanted_budget_micros)

    def _limit(self, campaign: Campaign) -> None:
        """Has every network accept what is left to spend, and then decides by what they have delivered until then."""
        placed = self._places.find(campaign)
        if campaign.state is State.COMPLETED:
            self._places.stop(placed)
        else:
            self._places.set_budget(placed, campaign.wanted_budget_micros or campaign.budget_micros)
        self._spend.collect(campaign, placed)
        with self._db.transaction() as tx:
            locked = store.lock(tx, campaign.organization_id, campaign.id)
            spent = figures.spent(tx, campaign.organization_id, campaign.id)
            store.put(tx, locked.limited(spent.posted_micros, spent.asked_micros, self._clock.now()))

    def _back(self, campaign: Campaign) -> None:
        """Undoes what was refused: networks had accepted a budget, and a raise had been held."""
        placed = {} if campaign.state is State.COMPLETED else self._places.find(campaign)
        for code, external_id in placed.items():
            self._tell_old_budget(campaign, code, external_id)
        if campaign.moving_micros <= 0:
            return
        if not campaign.is_limited:
            self._spend.collect(campaign, placed)
            with self._db.transaction() as tx:
                locked = store.lock(tx, campaign.organization_id, campaign.id)
                spent = figures.spent(tx, campaign.organization_id, campaign.id)
                campaign = locked.limited_back(spent.asked_micros, self._clock.now())
                store.put(tx, campaign)
        if campaign.moving_micros > 0:
            self._release(campaign, f"{campaign.move_key}:back", campaign.moving_micros)

    def _tell_old_budget(self, campaign: Campaign, code: str, external_id: str) -> None:
        """NETWORK_REJECTED where the network keeps a raised budget, so that what is held for it cannot go back."""
        try:
            self._places.set_budget({code: external_id}, campaign.budget_micros)
        except NetworkRejected as refused:
            _log.warning("network_keeps_its_budget", campaign=str(campaign.id), why=refused.message)
            stands_still = campaign.state is State.PAUSED and not campaign.is_resuming
            network = self._places.network(code)
            is_raise = campaign.moving_micros > 0 and not stands_still
            if is_raise and network.budget_micros(external_id) > campaign.budget_micros:
                raise

    def _hold(self, campaign: Campaign) -> None:
        try:
            self._payments.hold(
                campaign.organization_id,
                campaign.id,
                campaign.moving_micros,
                campaign.currency_code,
                f"{campaign.move_key}",
            )
        except HoldRefused:
            # A budget stays what it was, and what has no hold has none; what is missing in a hold is asked for again.
            if campaign.wanted_budget_micros is not None or campaign.hold_key is None:
                self._put(campaign, lambda one: one.unmoved(self._clock.now()))
            raise

    def _release(self, campaign: Campaign, key: str, amount_micros: int) -> None:
        self._payments.release(
            campaign.organization_id, campaign.id, campaign.currency_code, key, amount_micros=amount_micros
        )

    def _done(self, campaign: Campaign, changes: Mapping[str, Any]) -> Campaign:
        now = self._clock.now()
        with self._db.transaction() as tx:
            moved = store.lock(tx, campaign.organization_id, campaign.id).moved(now)
            if changes:
                moved = moved.edited(changes, "", at=now, published=True)
            return self._announcer.put(tx, moved)

    def _put(self, campaign: Campaign, change: Callable[[Campaign], Campaign]) -> Campaign:
        with self._db.transaction() as tx:
            changed = change(store.lock(tx, campaign.organization_id, campaign.id))
            store.put(tx, changed)
            return changed
