"""Creates and reads campaigns, and stores their changes for the other features."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from adplatform.campaign.v1 import campaign_pb2 as pb
from google.protobuf.message import Message

from adlib import money
from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import Aborted, InvalidArgument
from adlib.idempotency import Idempotency
from adlib.ids import NewId
from adlib.outbox import Outbox
from adlib.paging import Page, Slice, cut
from campaign_service.campaigns import messages, store
from campaign_service.campaigns.model import Campaign, NetworkNotAvailable, State
from campaign_service.deadlines import time_limit
from campaign_service.stats import store as figures
from campaign_service.stats.model import Delivery

M = TypeVar("M", bound=Message)
# Returns the changed campaign; the time is that of the change.
Change = Callable[[Campaign, datetime], Campaign]

# The contract's default for a campaign without networks: the first network of its enum.
DEFAULT_NETWORK = pb.Network.keys()[1]
# The limit of all calls of one operation to other systems together; a client behind the gateway waits 10 s at most.
_OPERATION_TIMEOUT_S = 8.0


class NetworkCurrency(money.CurrencyUnsupported):
    """The network bills in another currency."""

    def __init__(self, network: str, network_currency: str, currency_code: str) -> None:
        InvalidArgument.__init__(
            self,
            f"currencyCode {currency_code} is not supported: {network} bills in {network_currency}",
            currencyCode=currency_code,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCampaign:
    """The fields of a new campaign. Without networks it gets the default one; without a currency, USD."""

    name: str
    budget_micros: int
    daily_budget_micros: int | None
    currency_code: str
    start_time: datetime | None
    end_time: datetime | None
    target_url: str
    countries: tuple[str, ...]
    devices: tuple[str, ...]
    bid_model: str
    price_micros: int
    networks: tuple[str, ...]


class CampaignWriter:
    """Stores changes of campaigns, one operation a campaign at a time."""

    def __init__(self, db: Database, outbox: Outbox, clock: Clock) -> None:
        self._db = db
        self._outbox = outbox
        self._clock = clock

    @contextmanager
    def campaign_lock(
        self, organization_id: UUID, campaign_id: UUID, *, include_deleted: bool = False
    ) -> Iterator[Campaign]:
        """Runs the block as the only operation on the campaign, for 8 s at most; CAMPAIGN_NOT_FOUND, CONFLICT."""
        read = store.get_with_deleted if include_deleted else store.get
        read(self._db, organization_id, campaign_id)
        with time_limit(_OPERATION_TIMEOUT_S), self._db.advisory_lock(f"campaign:{campaign_id}") as is_locked:
            if not is_locked:
                raise Aborted("another call is changing this campaign; try again", campaignId=campaign_id)
            yield read(self._db, organization_id, campaign_id)

    def apply(self, campaign: Campaign, change: Change) -> Campaign:
        """Applies the change to the stored campaign in a transaction of its own, without an event."""
        with self._db.transaction() as tx:
            return self.apply_in(tx, campaign, change)

    def apply_in(self, tx: Transaction, campaign: Campaign, change: Change) -> Campaign:
        """Applies the change to the stored campaign and stores the result, without an event."""
        changed = change(store.lock(tx, campaign.organization_id, campaign.id), self._clock.now())
        store.save(tx, changed)
        return changed

    def apply_and_publish(self, tx: Transaction, campaign: Campaign, change: Change) -> Campaign:
        """Applies the change to the stored campaign; stores the result and its event."""
        changed = self.apply_in(tx, campaign, change)
        self.publish(tx, changed)
        return changed

    def save_and_publish(self, tx: Transaction, campaign: Campaign) -> Campaign:
        """Stores the changed campaign and its event."""
        store.save(tx, campaign)
        self.publish(tx, campaign)
        return campaign

    def publish_figures(self, tx: Transaction, campaign: Campaign) -> None:
        """Stores a later update time and the event, for a campaign with new figures only."""
        self.save_and_publish(tx, campaign.touched(self._clock.now()))

    def publish(self, tx: Transaction, campaign: Campaign) -> None:
        """Stores the event for the campaign's current state and figures."""
        deliveries = figures.deliveries(tx, campaign.organization_id, campaign.id)
        event = messages.changed_event(campaign, deliveries, self._clock.now())
        self._outbox.append(tx, campaign.organization_id, event)


class CampaignService:
    """The use cases that need neither the ledger nor a network."""

    def __init__(
        self, db: Database, writer: CampaignWriter, network_currencies: Mapping[str, str], clock: Clock, ids: NewId
    ) -> None:
        self._db = db
        self._writer = writer
        # The billing currency of each available network.
        self._network_currencies = network_currencies
        self._clock = clock
        self._ids = ids

    def create(self, organization_id: UUID, new: NewCampaign, idempotency: Idempotency[Campaign, M]) -> M:
        """Creates a campaign in DRAFT; NETWORK_NOT_AVAILABLE, CURRENCY_UNSUPPORTED."""
        now = self._clock.now()
        campaign = Campaign(
            id=self._ids(),
            organization_id=organization_id,
            name=new.name,
            budget_micros=new.budget_micros,
            daily_budget_micros=new.daily_budget_micros,
            currency_code=money.currency(new.currency_code),
            start_time=new.start_time,
            end_time=new.end_time,
            target_url=new.target_url,
            countries=new.countries,
            devices=new.devices,
            bid_model=new.bid_model,
            price_micros=new.price_micros,
            networks=new.networks or (DEFAULT_NETWORK,),
            created_at=now,
            updated_at=now,
        ).validated()
        self._check_networks(campaign)
        with self._db.transaction() as tx:
            if (seen := idempotency.replay(tx)) is not None:
                return seen
            store.add(tx, campaign)
            self._writer.publish(tx, campaign)
            return idempotency.record(tx, campaign)

    def get(self, organization_id: UUID, campaign_id: UUID) -> Campaign:
        """The campaign; CAMPAIGN_NOT_FOUND."""
        return store.get(self._db, organization_id, campaign_id)

    def list_page(self, organization_id: UUID, page: Page, state: State | None, words: str) -> Slice[Campaign]:
        """The organization's campaigns, newest first, optionally only in this state or with a name like the words."""
        return cut(store.list_page(self._db, organization_id, page, state, words), page, lambda campaign: campaign.id)

    def get_with_stats(self, organization_id: UUID, campaign_id: UUID) -> tuple[Campaign, Sequence[Delivery]]:
        """The campaign and its figures at each of its networks; CAMPAIGN_NOT_FOUND."""
        campaign = store.get(self._db, organization_id, campaign_id)
        found = {one.network: one for one in figures.deliveries(self._db, organization_id, campaign_id)}
        return campaign, [found.get(network, Delivery(network)) for network in campaign.networks]

    def _check_networks(self, campaign: Campaign) -> None:
        for network in campaign.networks:
            currency_code = self._network_currencies.get(network)
            if currency_code is None:
                raise NetworkNotAvailable(network)
            if currency_code != campaign.currency_code:
                raise NetworkCurrency(network, currency_code, campaign.currency_code)
