"""What networks report becomes spend: stored, asked of the ledger, and shared with publishers.

Money is given back only after the networks are limited and then read, so that nothing delivered before is missed.
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
from campaign_service.campaigns.outside import Places
from campaign_service.campaigns.service import Announcer
from campaign_service.clients.payment import MOST_ITEMS, Payments, Share, Spend, Taken, share_pb
from campaign_service.clients.publisher import Owner, Publishers
from campaign_service.stats import store
from campaign_service.stats.model import Figures, Slot, growth, within_room
from campaign_service.stats.store import Due, Earner, Posting

# Networks correct a day's figures for two days more.
WINDOW = timedelta(days=2)
_MOST_BATCHES = 20
_MOST_NAMED = 5

_log = logger(__name__)


class SpendUnposted(Unavailable):
    """More was spent than the ledger could be asked for by one call."""

    def __init__(self, campaign_id: UUID) -> None:
        super().__init__("what the campaign has spent is still being charged; try again", campaignId=campaign_id)


class SpendRefused(FailedPrecondition):
    """The ledger knows the keys of these postings with another amount or publisher."""

    reason = ErrorReason.IDEMPOTENCY_KEY_REUSED

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(
            f"the ledger has these spend_postings with another amount or publisher: {', '.join(keys[:_MOST_NAMED])}; "
            "what it took is stored, and the next run posts the rest with new keys"
        )


class SpendService:
    """Stores figures with the amounts that they come to, and has the ledger take those, each once."""

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        announcer: Announcer,
        places: Places,
        payments: Payments,
        publishers: Publishers,
        clock: Clock,
        ids: NewId,
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._announcer = announcer
        self._places = places
        self._payments = payments
        self._publishers = publishers
        self._clock = clock
        self._ids = ids

    def collect(self, campaign: Campaign, placed: Mapping[str, str]) -> None:
        """Reads and stores what these networks report of every day that can have changed since they were read.

        UNAVAILABLE where one does not answer.
        """
        last = self._clock.now().astimezone(UTC).date()
        read_at = store.read_at(self._db, campaign.organization_id, campaign.id)
        for code, external_id in placed.items():
            due = Due(campaign.organization_id, campaign.id, code, external_id, read_at.get(code, campaign.created_at))
            first = (due.read_at - WINDOW).astimezone(UTC).date()
            self.record(due, self._places.network(code).statistics([external_id], first, last).get(external_id, {}))

    def record(self, due: Due, read: Mapping[Slot, Figures]) -> None:
        """Stores what grew, together with what the ledger is to be asked for."""
        now = self._clock.now()
        first = min((day for day, _ in read), default=now.astimezone(UTC).date())
        with self._db.transaction() as tx:
            campaign = campaigns.lock(tx, due.organization_id, due.campaign_id)
            grown = growth(store.known(tx, due, first), store.asked_micros(tx, due, first), read)
            store.put_figures(tx, due, grown.figures, now)
            owed_micros: Mapping[Slot, int] = grown.owed_micros
            if (most_micros := campaign.most_asked_micros) is not None:
                # What networks deliver beyond the limit that they accepted is not the advertiser's to pay.
                asked_micros = store.spent(tx, due.organization_id, due.campaign_id).asked_micros
                owed_micros = within_room(owed_micros, most_micros - asked_micros)
            store.add_postings(tx, due, {self._ids(): owed for owed in owed_micros.items()}, campaign, now)
            if grown.figures:
                self._announcer.put(tx, campaign.touched(now))

    def post(self, organization_id: UUID, campaign_id: UUID) -> None:
        """Has the ledger take what it was not asked for yet, or was and did not answer.

        UNAVAILABLE; IDEMPOTENCY_KEY_REUSED where the ledger has a posting with other content: the rest gets a new key.
        """
        for _ in range(_MOST_BATCHES):
            postings = store.unposted(self._db, organization_id, campaign_id, MOST_ITEMS)
            if not postings:
                return
            postings = self._resolved(postings)
            taken = self._payments.post([_spend(posting) for posting in postings])
            with self._db.transaction() as tx:
                campaign = campaigns.lock(tx, organization_id, campaign_id)
                postings = [self._split(tx, posting, taken[str(posting.id)]) for posting in postings]
                missing_micros = sum(self._settle(tx, posting, taken[str(posting.id)]) for posting in postings)
                self._announcer.put(tx, campaign.touched(self._clock.now()))
            if missing_micros:
                _log.warning("spend_not_held", campaign=str(campaign_id), amount_micros=missing_micros)
            if refused := [key for key, one in taken.items() if one.is_refused]:
                raise SpendRefused(refused)

    def post_all(self, organization_id: UUID, campaign_id: UUID) -> None:
        """The same, for who gives back what is left; UNAVAILABLE also where there is more than one call can ask for."""
        self.post(organization_id, campaign_id)
        if store.unposted(self._db, organization_id, campaign_id, 1):
            raise SpendUnposted(campaign_id)

    def try_to_post(self, organization_id: UUID, campaign_id: UUID) -> None:
        """The same, or leaves it to the job: what is stored is not lost."""
        try:
            self.post(organization_id, campaign_id)
        except AppError as error:
            _log.info("spend_posted_later", campaign=str(campaign_id), why=error.message)

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
