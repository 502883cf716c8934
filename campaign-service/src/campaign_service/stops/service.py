"""Stops campaigns at their networks and releases their holds.

A hold is released only after the networks have stopped, were read after that, and all reported spend was charged.
"""

from collections.abc import Callable, Mapping
from uuid import UUID

from adlib.db import Database
from adlib.errors import AppError
from adlib.telemetry import logger
from campaign_service.budgets.service import BudgetChanges
from campaign_service.campaigns.model import Campaign, Reason, State
from campaign_service.campaigns.service import CampaignWriter, Change
from campaign_service.clients.payment import HoldRefused, OrganizationInDebt
from campaign_service.networks.protocol import NetworkRejected
from campaign_service.placements import store as placement_store
from campaign_service.placements.model import State as PlacementState
from campaign_service.placements.service import Placements
from campaign_service.spend.service import SpendPoster, SpendRecorder
from campaign_service.stats import store as stats

_log = logger(__name__)


class CampaignStopper:
    """Pauses and completes campaigns. Callers of methods that take a Campaign hold its lock."""

    def __init__(self, db: Database, writer: CampaignWriter, placements: Placements, budgets: BudgetChanges) -> None:
        self._db = db
        self._writer = writer
        self._placements = placements
        self._budgets = budgets

    def pause(self, organization_id: UUID, campaign_id: UUID) -> Campaign:
        """Stops delivery at every network; CAMPAIGN_STATE_INVALID."""
        with self._writer.campaign_lock(organization_id, campaign_id) as campaign:
            if campaign.state is State.PAUSED and not campaign.is_resuming:
                return campaign
            campaign.check_pausable()
            return self.stop_and_pause(campaign, Reason.USER)

    def complete(self, organization_id: UUID, campaign_id: UUID, why: Callable[[Campaign], Reason | None]) -> None:
        """Stops delivery at every network and completes the campaign, unless `why` returns None."""
        with self._writer.campaign_lock(organization_id, campaign_id, include_deleted=True) as campaign:
            if reason := why(campaign):
                self._stop(campaign, lambda one, now: one.completed(reason, now))

    def stop_and_pause(self, campaign: Campaign, reason: Reason) -> Campaign:
        """Stops delivery at every network, then stores the campaign as PAUSED."""
        return self._stop(campaign, lambda one, now: one.paused(reason, now))

    def settle_or_pause(self, campaign: Campaign) -> bool:
        """Completes the budget change in progress; False where its hold was refused and the campaign was paused.

        INSUFFICIENT_FUNDS, ORGANIZATION_IN_DEBT where the hold was refused and the campaign was not ACTIVE.
        """
        try:
            self._budgets.settle(campaign)
        except HoldRefused as refused:
            if campaign.state is not State.ACTIVE:
                raise
            in_debt = isinstance(refused, OrganizationInDebt)
            self.stop_and_pause(campaign, Reason.PAYMENT_DISPUTED if in_debt else Reason.INSUFFICIENT_FUNDS)
            return False
        return True

    def _stop(self, campaign: Campaign, change: Change) -> Campaign:
        external_ids = self._placements.find(campaign)
        self._placements.stop(external_ids)
        with self._db.transaction() as tx:
            placement_store.update_states(tx, campaign, external_ids, PlacementState.STOPPED)
            return self._writer.apply_and_publish(tx, campaign, change)


class HoldReleases:
    """Releases holds of campaigns that have stopped. Callers hold the campaign's lock."""

    def __init__(
        self,
        db: Database,
        writer: CampaignWriter,
        placements: Placements,
        budgets: BudgetChanges,
        recorder: SpendRecorder,
        poster: SpendPoster,
    ) -> None:
        self._db = db
        self._writer = writer
        self._placements = placements
        self._budgets = budgets
        self._recorder = recorder
        self._poster = poster

    def release(self, campaign: Campaign) -> Campaign:
        """Stops the campaign at every network, charges the spend that they report, and releases the rest of the hold.

        UNAVAILABLE where a network does not answer, or where the spend could not be charged.
        """
        try:
            campaign = self._budgets.settle(campaign)
        except HoldRefused:
            _log.info("hold_not_repaired", campaign=str(campaign.id))
        external_ids = self._placements.find(campaign)
        try:
            self._placements.stop(external_ids)
        except NetworkRejected as refused:
            # It was stopped before, or the network never played it: a campaign that it rejects does not deliver.
            _log.warning("network_rejected_stop", campaign=str(campaign.id), why=refused.message)
        self._recorder.collect(campaign, external_ids)
        return self._poster.post_and_release(campaign)

    def try_to_release(self, campaign: Campaign) -> None:
        """Releases the hold; a failure is logged, and the job releases it later."""
        try:
            self.release(campaign)
        except AppError as error:
            _log.info("hold_release_deferred", campaign=str(campaign.id), why=error.message)

    def stop_and_confirm_no_delivery(self, campaign: Campaign) -> bool:
        """Stops a started campaign again and reads its figures; returns whether there are none at any network.

        False where a network does not answer or refuses.
        """
        if campaign.state not in (State.PAUSED, State.COMPLETED) or not campaign.hold_key:
            return False
        if stats.has_figures(self._db, campaign.organization_id, campaign.id):
            return False
        try:
            external_ids = self._placements.find(campaign)
            self._placements.stop(external_ids)
            self._recorder.collect(campaign, external_ids)
        except AppError as error:
            _log.info("hold_kept_for_figures", campaign=str(campaign.id), why=error.message)
            return False
        return not stats.has_figures(self._db, campaign.organization_id, campaign.id)

    def cancel_start(self, campaign: Campaign, external_ids: Mapping[str, str] | None = None) -> Campaign:
        """Stops a start that cannot succeed and releases its hold.

        A campaign that has delivered becomes PAUSED and keeps its hold for spend that networks may still report.
        """
        if not campaign.is_releasing_hold:
            campaign = self._writer.apply(campaign, lambda one, now: one.releasing_hold(now))
        if external_ids is None:
            external_ids = self._placements.find(campaign)
        self._placements.stop(external_ids)
        with self._db.transaction() as tx:
            placement_store.update_states(tx, campaign, external_ids, PlacementState.STOPPED)
        self._recorder.collect(campaign, external_ids)
        if not stats.has_figures(self._db, campaign.organization_id, campaign.id):
            return self._poster.post_and_release(self._budgets.settle(campaign))
        with self._db.transaction() as tx:
            return self._writer.apply_and_publish(
                tx, campaign, lambda one, now: one.paused(Reason.NETWORK_REJECTED, now)
            )

    def abandon_start(self, campaign: Campaign, refused: NetworkRejected) -> None:
        """Completes a campaign that its network rejects to play and to stop; late figures are charged to its hold."""
        _log.error("network_rejected_stop", campaign=str(campaign.id), why=refused.message)
        external_ids = self._placements.find(campaign)
        with self._db.transaction() as tx:
            placement_store.update_states(tx, campaign, external_ids, PlacementState.PENDING)
            self._writer.apply_and_publish(tx, campaign, lambda one, now: one.completed(Reason.NETWORK_REJECTED, now))
