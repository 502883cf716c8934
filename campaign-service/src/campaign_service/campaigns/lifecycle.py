"""Starting, pausing, completing and deleting campaigns: sagas over the ledger and the ad networks.

What is about to be asked of the outside is stored before it is asked, so that whatever a crash leaves half done is
carried on with by the next start, or by the job. One call a campaign at a time talks to the outside. Nothing is given
back before the networks have stopped, were read after that, and what they reported has been charged.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import AppError
from adlib.telemetry import logger
from campaign_service.campaigns import store
from campaign_service.campaigns.model import Campaign, CampaignEnded, Reason, State
from campaign_service.campaigns.moves import Moves
from campaign_service.campaigns.outside import Places, alone
from campaign_service.campaigns.service import Announcer
from campaign_service.clients.payment import HoldRefused, InsufficientFunds, OrganizationInDebt, Payments
from campaign_service.delivery.network import NetworkRejected, name_at_network
from campaign_service.spend.service import SpendService
from campaign_service.stats import store as figures

# How long a network may refuse to stop what it refused to play before its word is taken for it.
_STOP_TRIED = timedelta(days=1)

_log = logger(__name__)


class Lifecycle:
    """The verbs of a campaign."""

    def __init__(
        self,
        db: Database,
        announcer: Announcer,
        payments: Payments,
        places: Places,
        moves: Moves,
        spend: SpendService,
        clock: Clock,
    ) -> None:
        self._db = db
        self._announcer = announcer
        self._payments = payments
        self._places = places
        self._moves = moves
        self._spend = spend
        self._clock = clock

    def start(self, organization_id: UUID, campaign_id: UUID) -> Campaign:
        """Holds the budget and lets the networks play.

        INSUFFICIENT_FUNDS, ORGANIZATION_IN_DEBT, CAMPAIGN_STATE_INVALID, CAMPAIGN_ENDED, NETWORK_REJECTED; after
        UNAVAILABLE a repeat carries on where it stopped.
        """
        with alone(self._db, organization_id, campaign_id) as campaign:
            if campaign.state is State.ACTIVE:
                if campaign.is_suspending:
                    self._moves.check_may_spend(campaign)
                return campaign
            try:
                campaign.check_startable(self._clock.now())
            except CampaignEnded:
                if campaign.state is State.DRAFT and campaign.hold_key:
                    self._take_back(campaign)
                raise
            if campaign.hold_returning:
                campaign = self._take_back(campaign)
            campaign = self._moves.settle(campaign)
            if campaign.state is State.DRAFT:
                return self._played(self._held(campaign))
            campaign = self._moves.fund(campaign)
            return self._played(self._put(campaign, lambda one: one.resuming(self._clock.now())))

    def pause(self, organization_id: UUID, campaign_id: UUID, reason: Reason = Reason.USER) -> Campaign:
        """Stops delivery on every network; CAMPAIGN_STATE_INVALID."""
        with alone(self._db, organization_id, campaign_id) as campaign:
            if campaign.state is State.PAUSED and not campaign.is_resuming:
                return campaign
            campaign.check_pausable()
            return self.stopped(campaign, lambda one: one.paused(reason, self._clock.now()))

    def complete(self, organization_id: UUID, campaign_id: UUID, why: Callable[[Campaign], Reason | None]) -> None:
        """Stops delivery on every network for good, where there is a reason to."""
        with alone(self._db, organization_id, campaign_id, deleted=True) as campaign:
            if reason := why(campaign):
                self.stopped(campaign, lambda one: one.completed(reason, self._clock.now()))

    def delete(self, organization_id: UUID, campaign_id: UUID) -> None:
        """Deletes it; what is held for it goes back when no more spend can come, at once if it never delivered.

        CAMPAIGN_STATE_INVALID.
        """
        with alone(self._db, organization_id, campaign_id) as campaign:
            campaign.check_deletable()
            if campaign.is_resuming:
                campaign = self.stopped(campaign, lambda one: one.paused(Reason.USER, self._clock.now()))
            if campaign.state is State.DRAFT and campaign.hold_key:
                try:
                    campaign = self._take_back(campaign)
                except NetworkRejected as refused:
                    self._give_up(campaign, refused)
            is_idle = self._never_delivered(campaign)
            with self._db.transaction() as tx:
                deleted = store.lock(tx, organization_id, campaign_id).deleted(self._clock.now())
                # The job may have read something since the networks were asked.
                if is_idle and not figures.are_there(tx, organization_id, campaign_id):
                    deleted = deleted.returning_hold(self._clock.now())
                self._announcer.put(tx, deleted)
            if deleted.hold_returning:
                self._returned_or_left(deleted)

    def suspend(self, organization_id: UUID, campaign_id: UUID) -> None:
        """Stops what is marked so and gives its hold back, which pays what its organization owes.

        UNAVAILABLE, CONFLICT, NETWORK_REJECTED: it stays marked, for the job.
        """
        with alone(self._db, organization_id, campaign_id, deleted=True) as campaign:
            if not campaign.is_suspending:
                return
            if campaign.state is State.DRAFT and campaign.hold_key:
                campaign = self._take_back(campaign)
            if campaign.state is State.ACTIVE or campaign.is_resuming:
                campaign = self.stopped(campaign, lambda one: one.paused(Reason.PAYMENT_DISPUTED, self._clock.now()))
            if campaign.state is State.PAUSED and campaign.hold_key:
                campaign = self.hold_returned(campaign)
            with self._db.transaction() as tx:
                suspended = store.lock(tx, organization_id, campaign_id).suspended(self._clock.now())
                self._announcer.put(tx, suspended)

    def carry_on(self, organization_id: UUID, campaign_id: UUID) -> None:
        """Ends what was left half done: a start, a change of the budget, a suspension, a hold that goes back."""
        campaign = store.kept(self._db, organization_id, campaign_id)
        try:
            if campaign.is_suspending:
                self.suspend(organization_id, campaign_id)
            elif (campaign.state is State.COMPLETED and campaign.hold_key) or campaign.hold_returning:
                self._end(organization_id, campaign_id)
            elif (campaign.state is State.DRAFT and campaign.hold_key) or campaign.is_resuming:
                self.start(organization_id, campaign_id)
            elif campaign.move_key:
                with alone(self._db, organization_id, campaign_id, deleted=True) as campaign:
                    self.settle_or_pause(campaign)
        except (HoldRefused, NetworkRejected, CampaignEnded) as refused:
            _log.info("carried_on_in_vain", campaign=str(campaign_id), why=refused.message)

    def settle_or_pause(self, campaign: Campaign) -> bool:
        """Ends what is on its way; False where its hold cannot be repaired, so that it is not ACTIVE any more.

        For who is alone with it. INSUFFICIENT_FUNDS, ORGANIZATION_IN_DEBT where it was not ACTIVE.
        """
        try:
            self._moves.settle(campaign)
        except HoldRefused as refused:
            if campaign.state is not State.ACTIVE:
                raise
            in_debt = isinstance(refused, OrganizationInDebt)
            reason = Reason.PAYMENT_DISPUTED if in_debt else Reason.INSUFFICIENT_FUNDS
            self.stopped(campaign, lambda one: one.paused(reason, self._clock.now()))
            return False
        return True

    def stopped(self, campaign: Campaign, change: Callable[[Campaign], Campaign]) -> Campaign:
        """The campaign, stopped at every network and then changed; for who is alone with it."""
        placed = self._places.stop(self._places.find(campaign))
        with self._db.transaction() as tx:
            store.set_placements(tx, campaign, placed, "STOPPED")
            return self._announcer.put(tx, change(store.lock(tx, campaign.organization_id, campaign.id)))

    def hold_returned(self, campaign: Campaign) -> Campaign:
        """The campaign with nothing held for it, once what it has delivered is charged; for who is alone with it.

        UNAVAILABLE where a network does not stop it or is not read, or not all of it could be charged.
        """
        try:
            campaign = self._moves.settle(campaign)
        except HoldRefused:
            _log.info("hold_not_put_right", campaign=str(campaign.id))
        placed = self._places.find(campaign)
        try:
            self._places.stop(placed)
        except NetworkRejected as refused:
            # What was stopped or given up before: the network does not deliver what it does not accept.
            _log.warning("network_does_not_stop", campaign=str(campaign.id), why=refused.message)
        self._spend.collect(campaign, placed)
        return self._released(campaign)

    def _released(self, campaign: Campaign) -> Campaign:
        """Charges what is stored of it, and gives back the rest of its hold."""
        self._spend.post_all(campaign.organization_id, campaign.id)
        self._payments.release(
            campaign.organization_id, campaign.id, campaign.currency_code, f"release:{campaign.hold_key}"
        )
        return self._put(campaign, lambda one: one.without_hold(self._clock.now()))

    def _never_delivered(self, campaign: Campaign) -> bool:
        """Whether what was started is stopped everywhere and no network has figures of it; False if that is unknown."""
        if campaign.state not in (State.PAUSED, State.COMPLETED) or not campaign.hold_key:
            return False
        if figures.are_there(self._db, campaign.organization_id, campaign.id):
            return False
        try:
            self._spend.collect(campaign, self._places.stop(self._places.find(campaign)))
        except AppError as error:
            _log.info("hold_kept_for_figures", campaign=str(campaign.id), why=error.message)
            return False
        return not figures.are_there(self._db, campaign.organization_id, campaign.id)

    def _returned_or_left(self, campaign: Campaign) -> None:
        """Gives its hold back now, or leaves that to the job."""
        try:
            self.hold_returned(campaign)
        except AppError as error:
            _log.info("hold_returned_later", campaign=str(campaign.id), why=error.message)

    def _end(self, organization_id: UUID, campaign_id: UUID) -> None:
        with alone(self._db, organization_id, campaign_id, deleted=True) as campaign:
            if campaign.state is State.COMPLETED and campaign.hold_key:
                self.hold_returned(campaign)
            elif campaign.state is State.DRAFT and campaign.hold_returning:
                try:
                    self._take_back(campaign)
                except NetworkRejected as refused:
                    if campaign.updated_at < self._clock.now() - _STOP_TRIED:
                        self._give_up(campaign, refused)
                    raise

    def _held(self, campaign: Campaign) -> Campaign:
        """The campaign with its budget held."""
        is_new = campaign.hold_key is None
        if is_new:
            with self._db.transaction() as tx:
                campaign = store.lock(tx, campaign.organization_id, campaign.id).starting(self._clock.now())
                store.put(tx, campaign)
                store.place(tx, campaign, dict.fromkeys(campaign.networks, name_at_network(campaign)))
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
                self._put(campaign, lambda one: one.without_hold(self._clock.now()))
            else:
                # An earlier try may have held it, before there was a debt.
                self._take_back(campaign)
            raise
        return campaign

    def _played(self, campaign: Campaign) -> Campaign:
        """The campaign, playing on all of its networks and so ACTIVE."""
        placed: dict[str, str] = {}
        try:
            for placement in store.placements(self._db, campaign):
                network = self._places.network(placement.network)
                placed[network.code] = (
                    placement.external_id
                    or network.find(placement.external_name)
                    or network.create(placement.external_name, campaign)
                )
            for code, external_id in placed.items():
                self._places.network(code).play(external_id)
        except NetworkRejected:
            if campaign.state is State.DRAFT:
                self._take_back(campaign, placed)
            else:
                reasons = campaign.state_reasons or (Reason.NETWORK_REJECTED,)
                self.stopped(campaign, lambda one: one.paused(reasons[0], self._clock.now()))
            raise
        with self._db.transaction() as tx:
            store.set_placements(tx, campaign, placed, "PLAYING")
            active = store.lock(tx, campaign.organization_id, campaign.id).active(self._clock.now())
            return self._announcer.put(tx, active)

    def _take_back(self, campaign: Campaign, placed: Mapping[str, str] | None = None) -> Campaign:
        """Ends a start that cannot succeed: nothing plays, nothing is held.

        Where it has played meanwhile it is PAUSED, and stays held for what the networks may report yet.
        """
        if not campaign.hold_returning:
            campaign = self._put(campaign, lambda one: one.returning_hold(self._clock.now()))
        placed = self._places.stop(self._places.find(campaign) if placed is None else placed)
        with self._db.transaction() as tx:
            store.set_placements(tx, campaign, placed, "STOPPED")
        self._spend.collect(campaign, placed)
        if not figures.are_there(self._db, campaign.organization_id, campaign.id):
            return self._released(self._moves.settle(campaign))
        with self._db.transaction() as tx:
            played = store.lock(tx, campaign.organization_id, campaign.id)
            return self._announcer.put(tx, played.paused(Reason.NETWORK_REJECTED, self._clock.now()))

    def _give_up(self, campaign: Campaign, refused: NetworkRejected) -> None:
        """Ends a start that the network neither plays nor stops: what it may report yet is taken from the hold."""
        _log.error("network_does_not_stop", campaign=str(campaign.id), why=refused.message)
        placed = self._places.find(campaign)
        with self._db.transaction() as tx:
            store.set_placements(tx, campaign, placed, "PENDING")
            campaign = store.lock(tx, campaign.organization_id, campaign.id)
            self._announcer.put(tx, campaign.completed(Reason.NETWORK_REJECTED, self._clock.now()))

    def _put(self, campaign: Campaign, change: Callable[[Campaign], Campaign]) -> Campaign:
        with self._db.transaction() as tx:
            changed = change(store.lock(tx, campaign.organization_id, campaign.id))
            store.put(tx, changed)
            return changed
