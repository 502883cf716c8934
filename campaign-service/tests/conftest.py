"""campaign-service with a real database and fakes of the systems that it calls."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.campaign.v1 import campaign_pb2 as pb
from adplatform.campaign.v1 import campaign_pb2_grpc
from adplatform.options.v1.options_pb2 import Permission
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adlib.bus import RedisBus
from adlib.clock import FixedClock
from adlib.db import Database, migrate
from adlib.documents import PostgresDocuments
from adlib.jobs import JobResult
from adlib.rpc import ServiceProcess
from adlib.service import Authorization, Dependencies, connect_redis
from adtesting import FakeAccess, Identities, running, stub_channel
from adtesting.campaign import FakeNetwork, FakePayments, FakePublishers
from adtesting.pytest_servers import FreshDatabase, ReusedDatabase
from campaign_service.__main__ import MIGRATIONS, build

NOON = datetime(2030, 1, 15, 12, tzinfo=UTC)
ALL = (
    Permission.CAMPAIGNS_READ,
    Permission.CAMPAIGNS_CREATE,
    Permission.CAMPAIGNS_UPDATE,
    Permission.CAMPAIGNS_START,
    Permission.CAMPAIGNS_PAUSE,
    Permission.CAMPAIGNS_DELETE,
)
Metadata = list[tuple[str, str]]


def prepare(url: str) -> None:
    migrate(url, *MIGRATIONS)


@pytest.fixture
def database_url(reused_database: ReusedDatabase) -> str:
    return reused_database("campaign", prepare)


@pytest.fixture(scope="session")
def shared_database_url(fresh_session_database: FreshDatabase) -> str:
    """One database for tests that read only their own organizations' campaigns."""
    return fresh_session_database("campaign", prepare)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@dataclass
class Outside:
    """The fakes that a test controls."""

    network: FakeNetwork = field(default_factory=FakeNetwork)
    payments: FakePayments = field(default_factory=lambda: FakePayments(1_000_000_000))
    publishers: FakePublishers = field(default_factory=FakePublishers)
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOON))
    access: FakeAccess = field(default_factory=FakeAccess)
    identities: Identities = field(default_factory=Identities)


@dataclass
class Client:
    """A client of an advertiser's organization."""

    channel: grpc.Channel
    outside: Outside
    organization_id: UUID
    headers: Metadata

    @property
    def stub(self) -> campaign_pb2_grpc.CampaignServiceStub:
        return campaign_pb2_grpc.CampaignServiceStub(self.channel)

    def create(self, key: str = "", **changes: object) -> pb.Campaign:
        fields: dict[str, object] = {
            "name": "Spring",
            "budget_micros": 100_000_000,
            "target_url": "https://shop.example.com/spring",
            "bid": pb.Bid(model=pb.Bid.CPM, price_micros=2_500_000),
        }
        headers = self.headers + ([("idempotency-key", key)] if key else [])
        return self.stub.CreateCampaign(pb.CreateCampaignRequest(**{**fields, **changes}), metadata=headers)

    def get(self, campaign_id: str) -> pb.Campaign:
        return self.stub.GetCampaign(pb.GetCampaignRequest(campaign_id=campaign_id), metadata=self.headers)

    def update(self, campaign_id: str, **changes: object) -> pb.Campaign:
        request = pb.UpdateCampaignRequest(campaign_id=campaign_id, **changes)
        return self.stub.UpdateCampaign(request, metadata=self.headers)

    def start(self, campaign_id: str) -> pb.Campaign:
        return self.stub.StartCampaign(pb.StartCampaignRequest(campaign_id=campaign_id), metadata=self.headers)

    def pause(self, campaign_id: str) -> pb.Campaign:
        return self.stub.PauseCampaign(pb.PauseCampaignRequest(campaign_id=campaign_id), metadata=self.headers)

    def delete(self, campaign_id: str) -> None:
        self.stub.DeleteCampaign(pb.DeleteCampaignRequest(campaign_id=campaign_id), metadata=self.headers)

    def stats(self, campaign_id: str) -> pb.CampaignStats:
        return self.stub.GetCampaignStats(pb.GetCampaignStatsRequest(campaign_id=campaign_id), metadata=self.headers)

    def sync(self) -> JobResult:
        jobs = campaign_pb2_grpc.CampaignJobsServiceStub(self.channel)
        return jobs.SyncStats(pb.SyncStatsRequest(), metadata=self.outside.identities.service_headers("scheduler"))

    def sweep(self) -> JobResult:
        jobs = campaign_pb2_grpc.CampaignJobsServiceStub(self.channel)
        headers = self.outside.identities.service_headers("scheduler")
        return jobs.SweepHolds(pb.SweepHoldsRequest(), metadata=headers)

    def external_id(self, campaign_id: str) -> str:
        """The network's id for the campaign; fails unless the network has it exactly once."""
        (found,) = [id for id, one in self.outside.network.campaigns.items() if campaign_id in one.name]
        return found


@pytest.fixture
def outside() -> Outside:
    made = Outside()
    for name in ("scheduler", "pixel-service", "payment-service"):
        made.identities.service(name)
    return made


@pytest.fixture
def worker(outside: Outside, database_url: str, redis_url: str) -> ServiceProcess:
    """The whole service, with its relay and consumers."""
    database, shared = Database(database_url), connect_redis(redis_url)
    own = Dependencies(
        authorization=Authorization(outside.identities.verifier(), outside.access),
        bus=RedisBus(shared),
        database=database,
        clock=outside.clock,
        closing=[shared.close, database.close],
    )
    return build(own, outside.payments, outside.publishers, [outside.network], PostgresDocuments(database))


@pytest.fixture
def channel(worker: ServiceProcess) -> Iterator[grpc.Channel]:
    """The service without its background work, which only tests of events need."""
    with running(replace(worker, background=[])) as server, stub_channel(server) as channel:
        yield channel


@pytest.fixture
def new_client(channel: grpc.Channel, outside: Outside) -> Callable[..., Client]:
    def make(*permissions: int) -> Client:
        person, organization_id = outside.identities.person(), uuid4()
        outside.access.grant(person, organization_id, Organization.ADVERTISER, *(permissions or ALL))
        return Client(channel, outside, organization_id, outside.identities.headers(person, organization_id))

    return make


@pytest.fixture
def client(new_client: Callable[..., Client]) -> Client:
    return new_client()


@dataclass
class Refusal:
    """The status of a refused call."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""
    message: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


@contextmanager
def refused() -> Iterator[Refusal]:
    """Expects the block's call to be refused; sets the fields of the yielded refusal at the end of the block."""
    refusal = Refusal()
    with pytest.raises(grpc.RpcError) as error:
        yield refusal
    refusal.code, refusal.message = error.value.code(), error.value.details()
    info = ErrorInfo()
    for detail in rpc_status.from_call(error.value).details:
        if detail.Unpack(info):
            refusal.reason, refusal.metadata = info.reason, dict(info.metadata)


@pytest.fixture(name="refused")
def _refused() -> Callable[[], object]:
    return refused
