"""Starting, pausing and completing campaigns: sagas over the ledger and the ad networks.

What is about to be asked of the outside is stored before it is asked, so that whatever a crash leaves half done is
carried on with by the next start, or by the job. One call a campaign at a time talks to the outside.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import Aborted
from adlib.outbox import Outbox
from adlib.telemetry import logger
from campaign_service.campaigns import store
from campaign_service.campaigns.model import Campaign, CampaignEnded, NetworkNotAvailable, Reason, State
from campaign_service.campaigns.service import Announcer
from campaign_service.clients.payment import InsufficientFunds, Payments
from campaign_service.deadlines import within
from campaign_service.delivery.network import Network, NetworkRejected, name_at_network

# For everything that one verb asks of the outside; a client behind a gateway waits no longer than 10 s.
_VERB_S = 8.0

_log = logger(__name__)


class Lifecycle:
    """The verbs of a campaign."""

    def __init__(
        self, db: Database, outbox: Outbox, payments: Payments, networks: Mapping[str, Network], clock: Clock
    ) -> None:
        self._db = db
        self._announcer = Announcer(outbox, clock)
        self._payments = payments
        self._networks = networks
        self._clock = clock

    def start(self, organization_id: UUID, campaign_id: UUID) -> Campaign:
        """Holds the budget and lets the networks play.

        INSUFFICIENT_FUNDS, CAMPAIGN_STATE_INVALID, CAMPAIGN_ENDED, NETWORK_REJECTED; after UNAVAILABLE a repeat carries
        on where it stopped.
        """
        with self._alone(organization_id, campaign_id) as campaign:
            if campaign.state is State.ACTIVE:
                return campaign
            try:
                campaign.check_startable(self._clock.now())
            except CampaignEnded:
                if campaign.state is State.DRAFT and campaign.hold_key:
                    self._take_back(campaign, self._find(campaign))
                raise
            if campaign.state is State.DRAFT:
                campaign = self._held(campaign)
            return self._played(campaign)

    def pause(self, organization_id: UUID, campaign_id: UUID) -> Campaign:
        """Stops delivery on every network; CAMPAIGN_STATE_INVALID."""
        with self._alone(organization_id, campaign_id) as campaign:
            if campaign.state is State.PAUSED:
                return campaign
            campaign.check_pausable()
            placed = self._stopped(self._find(campaign))
            with self._db.transaction() as tx:
                store.set_placements(tx, campaign, placed, "STOPPED")
                paused = store.lock(tx, organization_id, campaign_id).paused(Reason.USER, self._clock.now())
                return self._announcer.put(tx, paused)

    def complete(self, organization_id: UUID, campaign_id: UUID, reason: Reason) -> None:
        """Stops delivery on every network for good, unless that is done."""
        with self._alone(organization_id, campaign_id) as campaign:
            if campaign.state not in (State.ACTIVE, State.PAUSED):
                return
            placed = self._stopped(self._find(campaign))
            with self._db.transaction() as tx:
                store.set_placements(tx, campaign, placed, "STOPPED")
                completed = store.lock(tx, organization_id, campaign_id).completed(reason, self._clock.now())
                self._announcer.put(tx, completed)

    def carry_on(self, organization_id: UUID, campaign_id: UUID) -> None:
        """Ends what was left half done: the start of a DRAFT campaign, or the hold of a COMPLETED one."""
        campaign = store.get(self._db, organization_id, campaign_id)
        if campaign.state is State.DRAFT and campaign.hold_key:
            try:
                self.start(organization_id, campaign_id)
            except (InsufficientFunds, NetworkRejected, CampaignEnded) as refused:
                _log.info("start_given_up", campaign=str(campaign_id), why=refused.message)
        elif campaign.state is State.COMPLETED and campaign.hold_key:
            with self._alone(organization_id, campaign_id) as campaign:
                self._hold_returned(campaign)

    @contextmanager
    def _alone(self, organization_id: UUID, campaign_id: UUID) -> Iterator[Campaign]:
        """The campaign as it is, while no other call talks to the outside about it; CAMPAIGN_NOT_FOUND, CONFLICT."""
        store.get(self._db, organization_id, campaign_id)
        with within(_VERB_S), self._db.exclusive(f"campaign:{campaign_id}") as alone:
            if not alone:
                raise Aborted("another call is starting or pausing this campaign; try again", campaignId=campaign_id)
            yield store.get(self._db, organization_id, campaign_id)

    def _held(self, campaign: Campaign) -> Campaign:
        """The campaign with its budget held."""
        if campaign.hold_returning:
            campaign = self._hold_returned(campaign)
        if campaign.hold_key is None:
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
        except InsufficientFunds:
            self._forget_hold(campaign)
            raise
        return campaign

    def _played(self, campaign: Campaign) -> Campaign:
        """The campaign, playing on all of its networks and so ACTIVE."""
        placed: dict[str, str] = {}
        try:
            for placement in store.placements(self._db, campaign):
                network = self._network(placement.network)
                placed[network.code] = (
                    placement.external_id
                    or network.find(placement.external_name)
                    or network.create(placement.external_name, campaign)
                )
            for code, external_id in placed.items():
                self._network(code).play(external_id)
        except NetworkRejected:
            if campaign.state is State.DRAFT:
                self._take_back(campaign, placed)
            else:
                self._stopped(placed)
            raise
        with self._db.transaction() as tx:
            store.set_placements(tx, campaign, placed, "PLAYING")
            active = store.lock(tx, campaign.organization_id, campaign.id).active(self._clock.now())
            return self._announcer.put(tx, active)

    def _take_back(self, campaign: Campaign, placed: Mapping[str, str]) -> None:
        """Ends a start that cannot succeed: nothing plays, nothing is held."""
        self._stopped(placed)
        with self._db.transaction() as tx:
            store.set_placements(tx, campaign, placed, "STOPPED")
            campaign = store.lock(tx, campaign.organization_id, campaign.id).returning_hold(self._clock.now())
            store.put(tx, campaign)
        self._hold_returned(campaign)

    def _hold_returned(self, campaign: Campaign) -> Campaign:
        self._payments.release(
            campaign.organization_id, campaign.id, campaign.currency_code, f"release:{campaign.hold_key}"
        )
        return self._forget_hold(campaign)

    def _forget_hold(self, campaign: Campaign) -> Campaign:
        with self._db.transaction() as tx:
            free = store.lock(tx, campaign.organization_id, campaign.id).without_hold(self._clock.now())
            store.put(tx, free)
            return free

    def _find(self, campaign: Campaign) -> dict[str, str]:
        """The campaign's ids at the networks that know it."""
        found = {}
        for placement in store.placements(self._db, campaign):
            network = self._network(placement.network)
            if external_id := placement.external_id or network.find(placement.external_name):
                found[network.code] = external_id
        return found

    def _stopped(self, placed: Mapping[str, str]) -> Mapping[str, str]:
        for code, external_id in placed.items():
            self._network(code).stop(external_id)
        return placed

    def _network(self, code: str) -> Network:
        if network := self._networks.get(code):
            return network
        raise NetworkNotAvailable(code)
