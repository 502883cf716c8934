"""Making and reading campaigns. Editing them is in `moves`, starting, pausing and deleting in `lifecycle`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from google.protobuf.message import Message

from adlib import money
from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import InvalidArgument
from adlib.idempotency import Idempotency
from adlib.ids import NewId
from adlib.outbox import Outbox
from adlib.paging import Page, Slice, cut
from campaign_service.campaigns import messages, store
from campaign_service.campaigns.model import Campaign, NetworkNotAvailable, State
from campaign_service.delivery.network import Network
from campaign_service.stats import store as figures

M = TypeVar("M", bound=Message)

DEFAULT_NETWORK = "TRAFFIC_ENGINE"


class NetworkCurrency(money.CurrencyUnsupported):
    """The network bills in another currency."""

    def __init__(self, network: Network, currency_code: str) -> None:
        InvalidArgument.__init__(
            self,
            f"currencyCode {currency_code} is not supported: {network.code} bills in {network.currency_code}",
            currencyCode=currency_code,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCampaign:
    """What making a campaign takes; without networks it is TRAFFIC_ENGINE, without a currency USD."""

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


class Announcer:
    """Stores a campaign's change together with the event that tells of it."""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self._outbox = outbox
        self._clock = clock

    def put(self, tx: Transaction, campaign: Campaign) -> Campaign:
        """Stores the changed campaign, and tells of it with its figures."""
        store.put(tx, campaign)
        self.tell(tx, campaign)
        return campaign

    def tell(self, tx: Transaction, campaign: Campaign) -> None:
        """Tells of the campaign as it is stored, with its figures."""
        deliveries = figures.deliveries(tx, campaign.organization_id, campaign.id)
        event = messages.changed(campaign, deliveries, self._clock.now())
        self._outbox.append(tx, campaign.organization_id, event)


class CampaignService:
    """The use cases of a campaign before and beside its delivery."""

    def __init__(
        self, db: Database, announcer: Announcer, networks: Mapping[str, Network], clock: Clock, ids: NewId
    ) -> None:
        self._db = db
        self._announcer = announcer
        self._networks = networks
        self._clock = clock
        self._ids = ids

    def create(self, organization_id: UUID, new: NewCampaign, idempotency: Idempotency[Campaign, M]) -> M:
        """Makes a campaign in DRAFT; NETWORK_NOT_AVAILABLE, CURRENCY_UNSUPPORTED."""
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
        ).checked()
        for name in campaign.networks:
            if (network := self._networks.get(name)) is None:
                raise NetworkNotAvailable(name)
            if network.currency_code != campaign.currency_code:
                raise NetworkCurrency(network, campaign.currency_code)
        with self._db.transaction() as tx:
            if (seen := idempotency.replay(tx)) is not None:
                return seen
            store.add(tx, campaign)
            self._announcer.tell(tx, campaign)
            return idempotency.record(tx, campaign)

    def get(self, organization_id: UUID, campaign_id: UUID) -> Campaign:
        """The campaign; CAMPAIGN_NOT_FOUND."""
        return store.get(self._db, organization_id, campaign_id)

    def newest(self, organization_id: UUID, page: Page, state: State | None, words: str) -> Slice[Campaign]:
        """The organization's campaigns, newest first: all, or those in this state, or with a name like these words."""
        return cut(store.newest(self._db, organization_id, page, state, words), page, lambda campaign: campaign.id)
