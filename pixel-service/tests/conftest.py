"""pixel-service with a database of its own and a fake of campaign-service."""

from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import grpc
import pytest
import redis

from adlib.bus import RedisBus
from adlib.clock import SystemClock
from adlib.db import Database, migrate
from adlib.rpc import Settings
from adlib.service import Authorization, CommonSettings, Dependencies, connect_redis
from adtesting import FakeAccess, Identities, running, stub_channel
from adtesting.pixel import FakeCampaigns
from adtesting.pytest_servers import ReusedDatabase
from pixel_service.__main__ import MIGRATIONS, build
from pixel_service.config import Config
from pixel_service.pixels import store
from pixel_service.pixels.model import Pixel

KEY = b"a key for tests, of 32 characters"
TARGET = "https://shop.example/landing?from=ad#offer"

AddPixel = Callable[..., Pixel]


def _prepare(url: str) -> None:
    migrate(url, *MIGRATIONS)


@pytest.fixture
def database_url(reused_database: ReusedDatabase) -> str:
    return reused_database("pixel", _prepare)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.close()


@pytest.fixture
def shared(redis_url: str) -> Iterator[redis.Redis]:
    made = connect_redis(redis_url)
    yield made
    made.close()


@pytest.fixture
def bus(shared: redis.Redis) -> RedisBus:
    return RedisBus(shared, claim_after_ms=200)


@pytest.fixture
def identities() -> Identities:
    return Identities()


@pytest.fixture
def access() -> FakeAccess:
    return FakeAccess()


@pytest.fixture
def campaigns() -> FakeCampaigns:
    return FakeCampaigns()


@pytest.fixture
def add_pixel(db: Database) -> AddPixel:
    """Stores a pixel, by default of a new campaign of a new organization."""

    def add(**fields: object) -> Pixel:
        made: dict[str, object] = {
            "id": uuid4(),
            "organization_id": uuid4(),
            "campaign_id": uuid4(),
            "name": "landing page",
            "goals": ("conversion", "signup"),
            "target_url": TARGET,
            "currency_code": "USD",
            "created_at": SystemClock().now(),
        }
        pixel = Pixel(**{**made, **fields})  # type: ignore[arg-type]  # the fields are the dataclass's own
        with db.transaction() as tx:
            store.add(tx, pixel)
        return pixel

    return add


@pytest.fixture
def config(database_url: str, redis_url: str, identities: Identities) -> Config:
    common = CommonSettings(
        rpc=Settings(service="pixel-service", ports=[0]),
        redis_url=redis_url,
        auth_targets="",
        identity=identities.service("pixel-service"),
        service_keys=identities.service_jwks(),
    )
    return Config(
        common=common, database_url=database_url, campaign_targets="", http_port=0,
        public_url="https://ads.example", signing_key=KEY, is_proxied=True,
    )  # fmt: skip


@pytest.fixture
def channel(
    config: Config, db: Database, bus: RedisBus, identities: Identities, access: FakeAccess, campaigns: FakeCampaigns
) -> Iterator[grpc.Channel]:
    own = Dependencies(authorization=Authorization(identities.verifier(), access), bus=bus, database=db, bus_wait_ms=20)
    with running(build(own, campaigns, config, None)) as server, stub_channel(server) as channel:
        yield channel


@pytest.fixture
def organization_id() -> UUID:
    return uuid4()
