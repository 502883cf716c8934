"""publisher-service with a real database and a ledger in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.options.v1.options_pb2 import Permission
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adlib.bus import RedisBus
from adlib.clock import FixedClock
from adlib.db import Database, migrate
from adlib.identity import Person
from adlib.rpc import ServiceProcess
from adlib.service import Authorization, Dependencies, connect_redis
from adtesting import FakeAccess, Identities, running, stub_channel
from adtesting.publisher import FakeLedger
from adtesting.pytest_servers import ReusedDatabase
from publisher_service.__main__ import MIGRATIONS, build

PUBLISHING = (
    Permission.PUBLISHERS_READ,
    Permission.PUBLISHERS_CREATE,
    Permission.PUBLISHERS_UPDATE,
    Permission.PUBLISHERS_PAYOUT,
)
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)

Metadata = list[tuple[str, str]]


@dataclass(frozen=True)
class Member:
    """A member of an organization."""

    person: Person
    organization_id: UUID
    headers: Callable[..., Metadata]


def _prepare(url: str) -> None:
    migrate(url, *MIGRATIONS)


@pytest.fixture
def database_url(reused_database: ReusedDatabase) -> str:
    return reused_database("publisher", _prepare)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def identities() -> Identities:
    made = Identities()
    for name in ("campaign-service", "payment-service", "scheduler"):
        made.service(name)
    return made


@pytest.fixture
def access() -> FakeAccess:
    return FakeAccess()


@pytest.fixture
def ledger() -> FakeLedger:
    return FakeLedger()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOON)


@pytest.fixture
def bus(redis_url: str) -> Iterator[RedisBus]:
    client = connect_redis(redis_url)
    yield RedisBus(client)
    client.close()


@pytest.fixture
def worker(
    db: Database, bus: RedisBus, identities: Identities, access: FakeAccess, ledger: FakeLedger, clock: FixedClock
) -> ServiceProcess:
    own = Dependencies(
        authorization=Authorization(identities.verifier(), access), bus=bus, database=db, clock=clock, bus_wait_ms=20
    )
    # Retries never run by themselves: tests call them.
    return build(own, ledger, share_basis_points=7000, retry_every_s=3600, sync_max_wait_s=1.0)


@pytest.fixture
def channel(worker: ServiceProcess) -> Iterator[grpc.Channel]:
    with running(worker) as server, stub_channel(server) as channel:
        yield channel


@pytest.fixture
def member(identities: Identities, access: FakeAccess) -> Callable[..., Member]:
    def join(
        kind: int = Organization.PUBLISHER,
        *codes: int,
        organization_id: UUID | None = None,
        person: Person | None = None,
    ) -> Member:
        somebody = person or identities.person()
        organization = organization_id or uuid4()
        access.grant(somebody, organization, kind, *(codes or PUBLISHING))
        return Member(somebody, organization, lambda **more: identities.headers(somebody, organization, **more))

    return join


@pytest.fixture
def staff(member: Callable[..., Member]) -> Member:
    return member(Organization.PLATFORM, Permission.ADMIN_FULL)


@pytest.fixture
def refused() -> Callable[..., ErrorInfo]:
    """Makes the call, which must be refused, and returns the refusal."""

    def call(
        reason: "ErrorReason.ValueType", method: Callable[..., object], *args: object, **kwargs: object
    ) -> ErrorInfo:
        with pytest.raises(grpc.RpcError) as error:
            method(*args, **kwargs)
        info = ErrorInfo()
        assert any(detail.Unpack(info) for detail in rpc_status.from_call(error.value).details)
        assert info.reason == ErrorReason.Name(reason)
        return info

    return call
