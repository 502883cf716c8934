"""Starts campaigns: a saga over the ledger and the ad networks.

Each step is stored before another system is called, so a start that a crash interrupts is continued by the next start
or by the job, without a second hold or a second campaign at a network.
"""

from collections.abc import Mapping
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Database
from campaign_service.budgets.service import BudgetChanges
from campaign_service.campaigns.model import Campaign, CampaignEnded, Reason, State
from campaign_service.campaigns.service import CampaignWriter
from campaign_service.clients.payment import HoldRefused, InsufficientFunds, Payments
from campaign_service.networks.protocol import NetworkRejected
from campaign_service.placements import store as placement_store
from campaign_service.placements.model import State as PlacementState
from campaign_service.placements.model import external_name
from campaign_service.placements.service import Placements
from campaign_service.stops.service import CampaignStopper, HoldReleases


class StartFunding:
    """Holds the budget of a campaign that is about to deliver. Callers hold the campaign's lock."""

    def __init__(
        self, db: Database, writer: CampaignWriter, payments: Payments, budgets: BudgetChanges, releases: HoldReleases
    ) -> None:
        self._db = db
        self._writer = writer
        self._payments = payments
        self._budgets = budgets
        self._releases = releases

    def fund(self, campaign: Campaign) -> Campaign:
        """The campaign with its budget held, ready to be played.

        INSUFFICIENT_FUNDS, ORGANIZATION_IN_DEBT; UNAVAILABLE where an earlier start could not be cancelled.
        """
        if campaign.is_releasing_hold:
            campaign = self._releases.cancel_start(campaign)
        campaign = self._budgets.settle(campaign)
        if campaign.state is State.DRAFT:
            return self._hold(campaign)
        return self._writer.apply(self._budgets.fund(campaign), lambda one, now: one.resuming(now))

    def check_may_spend(self, campaign: Campaign) -> None:
        """Raises ORGANIZATION_IN_DEBT unless the organization may spend."""
        self._budgets.check_may_spend(campaign)

    def cancel(self, campaign: Campaign, external_ids: Mapping[str, str] | None = None) -> None:
        """Stops a start that cannot succeed and releases its hold; `external_ids`: the networks that may deliver."""
        self._releases.cancel_start(campaign, external_ids)

    def _hold(self, campaign: Campaign) -> Campaign:
        is_new = campaign.hold_key is None
        if is_new:
            campaign = self._store_start(campaign)
        try:
            self._payments.hold(
                campaign.organization_id,
                campaign.id,
                campaign.budget_micros,
                campaign.currency_code,
                campaign.hold_key or "",
            )
        except HoldRefused as refused:
            if is_new or isinstance(refused, InsufficientFunds):
                self._writer.apply(campaign, lambda one, now: one.without_hold(now))
            else:
                # An earlier attempt may have held the budget before the organization was in debt.
                self._releases.cancel_start(campaign)
            raise
        return campaign

    def _store_start(self, campaign: Campaign) -> Campaign:
        """Stores the hold's key and the campaign's names at its networks."""
        with self._db.transaction() as tx:
            campaign = self._writer.apply_in(tx, campaign, lambda one, now: one.starting(now))
            placement_store.add(tx, campaign, dict.fromkeys(campaign.networks, external_name(campaign)))
        return campaign


class CampaignStarter:
    """Starts campaigns, for the first time or after a pause."""

    def __init__(
        self,
        db: Database,
        writer: CampaignWriter,
        funding: StartFunding,
        placements: Placements,
        stopper: CampaignStopper,
        clock: Clock,
    ) -> None:
        self._db = db
        self._writer = writer
        self._funding = funding
        self._placements = placements
        self._stopper = stopper
        self._clock = clock

    def start(self, organization_id: UUID, campaign_id: UUID) -> Campaign:
        """Holds the budget, then starts delivery at every network.

        INSUFFICIENT_FUNDS, ORGANIZATION_IN_DEBT, CAMPAIGN_STATE_INVALID, CAMPAIGN_ENDED, NETWORK_REJECTED. After
        UNAVAILABLE, a repeat continues where the call stopped.
        """
        with self._writer.campaign_lock(organization_id, campaign_id) as campaign:
            if campaign.state is State.ACTIVE:
                if campaign.is_suspending:
                    self._funding.check_may_spend(campaign)
                return campaign
            try:
                campaign.check_startable(self._clock.now())
            except CampaignEnded:
                if campaign.is_starting:
                    self._funding.cancel(campaign)
                raise
            return self._play(self._funding.fund(campaign))

    def _play(self, campaign: Campaign) -> Campaign:
        """Creates and plays the campaign at all of its networks, then stores it as ACTIVE."""
        external_ids: dict[str, str] = {}
        try:
            for placement in self._placements.of_campaign(campaign):
                external_ids[placement.network] = self._placements.find_or_create(placement, campaign)
            self._placements.play(external_ids)
        except NetworkRejected:
            if campaign.state is State.DRAFT:
                self._funding.cancel(campaign, external_ids)
            else:
                reasons = campaign.state_reasons or (Reason.NETWORK_REJECTED,)
                self._stopper.stop_and_pause(campaign, reasons[0])
            raise
        with self._db.transaction() as tx:
            placement_store.update_states(tx, campaign, external_ids, PlacementState.PLAYING)
            return self._writer.apply_and_publish(tx, campaign, lambda one, now: one.active(now))
