"""Records the spend that networks report, and posts it to the ledger with the publishers' shares.

Money is released only after networks were limited and then read, so spend before the limit is always charged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from uuid import UUID

from adplatform.campaign.v1.campaign_pb2 import Network as NetworkCode
from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.events.v1.events_pb2 import SpendPosted

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import AppError, FailedPrecondition, Unavailable
from adlib.ids import NewId
from adlib.money import share
from adlib.outbox import Outbox
from adlib.telemetry import logger
from campaign_service.campaigns import store as campaigns
from campaign_service.campaigns.model import Campaign
from campaign_service.campaigns.service import CampaignWriter
from campaign_service.clients.payment import MAX_SPENDS, Payments, Posted, Share, Spend, share_pb
from campaign_service.clients.publisher import Owner, Publishers
from campaign_service.placements.service import Placements
from campaign_service.spend import store
from campaign_service.spend.model import Earner, PlacementRef, Posting, capped_to_budget, unrequested
from campaign_service.stats import store as stats
from campaign_service.stats.model import Figures, Slot, increases

# Networks correct a day's figures for two more days.
CORRECTION_WINDOW = timedelta(days=2)
# Of MAX_SPENDS postings each, in one call.
_MAX_BATCHES = 20
_MAX_KEYS_IN_MESSAGE = 5

_log = logger(__name__)


class SpendUnposted(Unavailable):
    """The campaign has more unposted spend than one call can post."""

    def __init__(self, campaign_id: UUID) -> None:
        super().__init__("what the campaign has spent is still being charged; try again", campaignId=campaign_id)


class SpendRefused(FailedPrecondition):
    """The ledger has these postings with another amount or publisher."""

    reason = ErrorReason.IDEMPOTENCY_KEY_REUSED

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(
            "the ledger has these spend_postings with another amount or publisher: "
            f"{', '.join(keys[:_MAX_KEYS_IN_MESSAGE])}; "
            "its amounts are stored, and the next run posts the rest with new keys"
        )


class SpendRecorder:
    """Reads figures from networks and stores them together with the postings that they require."""

    def __init__(self, db: Database, writer: CampaignWriter, placements: Placements, clock: Clock, ids: NewId) -> None:
        self._db = db
        self._writer = writer
        self._placements = placements
        self._clock = clock
        self._ids = ids

    def collect(self, campaign: Campaign, external_ids: Mapping[str, str]) -> None:
        """Reads and stores the figures of every day that may have changed since these networks were last read.

        UNAVAILABLE where a network does not answer.
        """
        last = self._clock.now().astimezone(UTC).date()
        synced_at = stats.last_synced(self._db, campaign.organization_id, campaign.id)
        for code, external_id in external_ids.items():
            first = (synced_at.get(code, campaign.created_at) - CORRECTION_WINDOW).astimezone(UTC).date()
            reported = self._placements.network(code).statistics([external_id], first, last)
            self.record(PlacementRef(campaign.organization_id, campaign.id, code), reported.get(external_id, {}))

    def record(self, placement: PlacementRef, reported: Mapping[Slot, Figures]) -> None:
        """Stores the figures that have increased, and postings for the spend that no posting requests yet."""
        organization_id, campaign_id, network = placement.organization_id, placement.campaign_id, placement.network
        now = self._clock.now()
        first = min((day for day, _ in reported), default=now.astimezone(UTC).date())
        with self._db.transaction() as tx:
            campaign = campaigns.lock(tx, organization_id, campaign_id)
            stored = stats.figures_since(tx, organization_id, campaign_id, network, first)
            increased = increases(stored, reported)
            stats.save_figures(tx, organization_id, campaign_id, network, increased, now)
            amounts_micros = unrequested(stored, store.requested_since(tx, placement, first), reported)
            if (max_micros := campaign.max_requested_micros) is not None:
                # The advertiser does not pay for delivery above a limit that the network accepted.
                requested_micros = store.spent(tx, organization_id, campaign_id).requested_micros
                amounts_micros = capped_to_budget(amounts_micros, max_micros - requested_micros)
            postings = {self._ids(): amount for amount in amounts_micros.items()}
            store.add(tx, placement, postings, campaign.currency_code, now)
            if increased:
                self._writer.publish_figures(tx, campaign)


class SpendPoster:
    """Posts each recorded amount to the ledger exactly once."""

    def __init__(
        self,
        db: Database,
        writer: CampaignWriter,
        outbox: Outbox,
        payments: Payments,
        publishers: Publishers,
        ids: NewId,
    ) -> None:
        self._db = db
        self._writer = writer
        self._outbox = outbox
        self._payments = payments
        self._publishers = publishers
        self._ids = ids

    def post(self, organization_id: UUID, campaign_id: UUID) -> None:
        """Posts the campaign's unposted spend, up to 20 batches of 500.

        UNAVAILABLE; IDEMPOTENCY_KEY_REUSED where the ledger has a key with other content: the rest gets a new key.
        """
        for _ in range(_MAX_BATCHES):
            postings = store.unposted(self._db, organization_id, campaign_id, MAX_SPENDS)
            if not postings:
                return
            postings = self._resolve(postings)
            posted = self._payments.post([_spend(posting) for posting in postings])
            with self._db.transaction() as tx:
                campaign = campaigns.lock(tx, organization_id, campaign_id)
                postings = [self._split(tx, posting, posted[str(posting.id)]) for posting in postings]
                missing_micros = sum(self._settle(tx, posting, posted[str(posting.id)]) for posting in postings)
                self._writer.publish_figures(tx, campaign)
            if missing_micros:
                _log.warning("spend_not_held", campaign=str(campaign_id), amount_micros=missing_micros)
            if refused := [key for key, one in posted.items() if one.is_refused]:
                raise SpendRefused(refused)

    def post_all(self, organization_id: UUID, campaign_id: UUID) -> None:
        """Posts all of the campaign's spend; UNAVAILABLE also where one call cannot post all of it."""
        self.post(organization_id, campaign_id)
        if store.unposted(self._db, organization_id, campaign_id, 1):
            raise SpendUnposted(campaign_id)

    def try_to_post(self, organization_id: UUID, campaign_id: UUID) -> None:
        """Posts the campaign's spend; a failure is logged, and the job posts it later."""
        try:
            self.post(organization_id, campaign_id)
        except AppError as error:
            _log.info("spend_posting_deferred", campaign=str(campaign_id), why=error.message)

    def post_and_release(self, campaign: Campaign) -> Campaign:
        """Posts all of the campaign's spend, then releases the rest of its hold."""
        self.post_all(campaign.organization_id, campaign.id)
        self._payments.release(
            campaign.organization_id, campaign.id, campaign.currency_code, f"release:{campaign.hold_key}"
        )
        return self._writer.apply(campaign, lambda one, now: one.without_hold(now))

    def _resolve(self, postings: Sequence[Posting]) -> Sequence[Posting]:
        """Stores which publisher earns from each posting, so that a repeat sends the ledger the same content."""
        zone_ids = {id for posting in postings if not posting.is_resolved and (id := posting.zone_uuid)}
        owners = self._publishers.owners(sorted(zone_ids)) if zone_ids else {}
        resolved = [posting if posting.is_resolved else _with_owner(posting, owners) for posting in postings]
        with self._db.transaction() as tx:
            for before, after in zip(postings, resolved, strict=True):
                if not before.is_resolved:
                    store.resolve(tx, after)
        return resolved

    def _split(self, tx: Transaction, posting: Posting, posted: Posted) -> Posting:
        """Splits a posting that the ledger has with another amount: it gets that amount, the rest a key of its own."""
        if not posted.is_refused:
            return posting
        store.split(tx, posting, posted.micros, self._ids())
        return replace(posting, amount_micros=posted.micros)

    def _settle(self, tx: Transaction, posting: Posting, posted: Posted) -> int:
        """Stores and publishes the posted amount; returns the micros that the hold lacked, 0 if stored before."""
        earned_micros = share(posted.micros, posting.earner.basis_points) if posting.earner else 0
        if not store.settle(tx, posting, posted.micros, earned_micros):
            return 0
        missing_micros = posting.amount_micros - posted.micros
        if not posted.micros:
            return missing_micros
        publisher_share = _share(posting)
        event = SpendPosted(
            campaign_id=str(posting.campaign_id),
            network=NetworkCode.Value(posting.network),
            day=posting.day.isoformat(),
            amount_micros=posted.micros,
            currency_code=posting.currency_code,
            publisher=share_pb(publisher_share) if publisher_share else None,
            publisher_micros=earned_micros,
        )
        self._outbox.append(tx, posting.organization_id, event)
        return missing_micros


def _with_owner(posting: Posting, owners: Mapping[UUID, Owner]) -> Posting:
    zone_id = posting.zone_uuid
    owner = owners.get(zone_id) if zone_id else None
    earner = Earner(owner.organization_id, owner.publisher_id, owner.basis_points) if owner else None
    return replace(posting, is_resolved=True, earner=earner)


def _share(posting: Posting) -> Share | None:
    earner, zone_id = posting.earner, posting.zone_uuid
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
