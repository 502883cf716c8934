"""Deletes and suspends campaigns, and resumes their interrupted operations."""

from datetime import timedelta
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Database
from adlib.telemetry import logger
from campaign_service.campaigns import store
from campaign_service.campaigns.model import Campaign, CampaignEnded, Reason, State
from campaign_service.campaigns.service import CampaignWriter
from campaign_service.clients.payment import HoldRefused
from campaign_service.networks.protocol import NetworkRejected
from campaign_service.starts.service import CampaignStarter
from campaign_service.stats import store as stats
from campaign_service.stops.service import CampaignStopper, HoldReleases

# How long a stop is retried at a network that rejects both playing and stopping the campaign.
_STOP_RETRY_PERIOD = timedelta(days=1)

_log = logger(__name__)


class CampaignLifecycle:
    """The operations that combine starts, stops and releases."""

    def __init__(
        self,
        db: Database,
        writer: CampaignWriter,
        starter: CampaignStarter,
        stopper: CampaignStopper,
        releases: HoldReleases,
        clock: Clock,
    ) -> None:
        self._db = db
        self._writer = writer
        self._starter = starter
        self._stopper = stopper
        self._releases = releases
        self._clock = clock

    def delete(self, organization_id: UUID, campaign_id: UUID) -> None:
        """Deletes the campaign. Its hold is released at once if it never delivered, else once figures are final.

        CAMPAIGN_STATE_INVALID.
        """
        with self._writer.campaign_lock(organization_id, campaign_id) as campaign:
            campaign.check_deletable()
            if campaign.is_resuming:
                campaign = self._stopper.stop_and_pause(campaign, Reason.USER)
            if campaign.is_starting:
                try:
                    campaign = self._releases.cancel_start(campaign)
                except NetworkRejected as refused:
                    self._releases.abandon_start(campaign, refused)
            has_no_delivery = self._releases.stop_and_confirm_no_delivery(campaign)
            with self._db.transaction() as tx:
                now = self._clock.now()
                deleted = store.lock(tx, organization_id, campaign_id).deleted(now)
                # The job may have read figures since the networks were asked.
                if has_no_delivery and not stats.has_figures(tx, organization_id, campaign_id):
                    deleted = deleted.releasing_hold(now)
                self._writer.save_and_publish(tx, deleted)
            if deleted.is_releasing_hold:
                self._releases.try_to_release(deleted)

    def suspend(self, organization_id: UUID, campaign_id: UUID) -> None:
        """Stops a campaign that is marked for suspension and releases its hold, which pays the organization's debt.

        UNAVAILABLE, CONFLICT, NETWORK_REJECTED: it stays marked, and the job suspends it later.
        """
        with self._writer.campaign_lock(organization_id, campaign_id, include_deleted=True) as campaign:
            if not campaign.is_suspending:
                return
            if campaign.is_starting:
                campaign = self._releases.cancel_start(campaign)
            if campaign.state is State.ACTIVE or campaign.is_resuming:
                campaign = self._stopper.stop_and_pause(campaign, Reason.PAYMENT_DISPUTED)
            if campaign.state is State.PAUSED and campaign.hold_key:
                campaign = self._releases.release(campaign)
            with self._db.transaction() as tx:
                self._writer.apply_and_publish(tx, campaign, lambda one, now: one.suspended(now))

    def resume_operation(self, organization_id: UUID, campaign_id: UUID) -> None:
        """Completes an interrupted start, budget change or suspension, or releases a hold that is due for release."""
        campaign = store.get_with_deleted(self._db, organization_id, campaign_id)
        try:
            if campaign.is_suspending:
                self.suspend(organization_id, campaign_id)
            elif campaign.is_releasing_hold or (campaign.state is State.COMPLETED and campaign.hold_key):
                self._release(organization_id, campaign_id)
            elif campaign.is_starting or campaign.is_resuming:
                self._starter.start(organization_id, campaign_id)
            elif campaign.budget_change:
                with self._writer.campaign_lock(organization_id, campaign_id, include_deleted=True) as campaign:
                    self._stopper.settle_or_pause(campaign)
        except (HoldRefused, NetworkRejected, CampaignEnded) as refused:
            _log.info("operation_not_resumed", campaign=str(campaign_id), why=refused.message)

    def _release(self, organization_id: UUID, campaign_id: UUID) -> None:
        with self._writer.campaign_lock(organization_id, campaign_id, include_deleted=True) as campaign:
            if campaign.state is State.COMPLETED and campaign.hold_key:
                self._releases.release(campaign)
            elif campaign.state is State.DRAFT and campaign.is_releasing_hold:
                self._cancel_or_abandon_start(campaign)

    def _cancel_or_abandon_start(self, campaign: Campaign) -> None:
        try:
            self._releases.cancel_start(campaign)
        except NetworkRejected as refused:
            if campaign.updated_at < self._clock.now() - _STOP_RETRY_PERIOD:
                self._releases.abandon_start(campaign, refused)
            raise
