"""The dependencies that every service has, and the process that is built from them."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from google.protobuf.descriptor import ServiceDescriptor

from adlib.audit import PostgresAuditTrail
from adlib.bus import Bus, Consumer, Handler, RedisBus
from adlib.clock import Clock, SystemClock
from adlib.db import Database
from adlib.identity import ServiceIdentity
from adlib.ids import NewId, new_id
from adlib.outbox import Outbox, Relay
from adlib.purge import PurgeExpired
from adlib.redis_clients import connect_redis
from adlib.retention import Rule
from adlib.rpc import Remote, Runnable, ServiceProcess
from adlib.service.authorization import Authorization, remote_authorization
from adlib.service.settings import CommonSettings


class Servicer(Protocol):
    """An implementation of a service of the contract."""

    @property
    def contract(self) -> ServiceDescriptor:
        """The service that it implements."""
        ...


class Closeable(Protocol):
    """A resource that a process closes at its end."""

    def close(self) -> object:
        """Closes the resource."""
        ...


R = TypeVar("R", bound=Closeable)


@dataclass(slots=True, kw_only=True)
class Dependencies:
    """The dependencies that every service has. `from_config` connects to the real ones; tests pass fakes.

    `consumer_name` identifies this process in consumer groups and stays the same after a restart. `closing` is called
    in order after the process has stopped.
    """

    authorization: Authorization
    bus: Bus
    database: Database | None = None
    identity: ServiceIdentity | None = None
    clock: Clock = field(default_factory=SystemClock)
    new_id: NewId = new_id
    consumer_name: str = "test"
    # How long a consumer waits for messages at a time, which delays the end of the process.
    bus_wait_ms: int = 500
    closing: list[Callable[[], object]] = field(default_factory=list)

    @classmethod
    def from_config(
        cls, common: CommonSettings, *, database_url: str = "", authorization: Authorization | None = None
    ) -> "Dependencies":
        """Connects to Redis, to the database at `database_url` if given, and to auth-service unless `authorization` is
        given.
        """
        redis = connect_redis(common.redis_url)
        database = Database(database_url) if database_url else None
        closing: list[Callable[[], object]] = [redis.close]
        if database:
            closing.append(database.close)
        if authorization is None:
            auth = Remote("auth-service", common.auth_targets, common.identity)
            verifier, access = remote_authorization(common, auth)
            authorization, closing = Authorization(verifier, access), [auth.close, access.close, *closing]
        return cls(
            authorization=authorization,
            bus=RedisBus(redis),
            database=database,
            identity=common.identity,
            consumer_name=f"{socket.gethostname()}:{common.rpc.ports[0]}",
            closing=closing,
        )

    @property
    def db(self) -> Database:
        """The service's own database; RuntimeError without one."""
        if self.database is None:
            raise RuntimeError("this service has no database")
        return self.database

    def remote(self, name: str, targets: str) -> Remote:
        """A client for another service, with this service's identity; `targets` is host:port[,host:port…]."""
        return self.close_at_end(Remote(name, targets, self.identity))

    def close_at_end(self, resource: R) -> R:
        """Registers the resource to be closed after the process has stopped, and returns it."""
        self.closing.insert(0, resource.close)
        return resource

    def consumer(self, topic: str, group: str, handle: Handler, *, batch: int = 100) -> Consumer:
        """A consumer that passes the topic's messages to `handle`, up to `batch` at a time."""
        subscription = self.bus.subscribe(topic, group, self.consumer_name)
        return Consumer(subscription, handle, batch=batch, wait_ms=self.bus_wait_ms)

    def relay(self, outbox: Outbox) -> Relay:
        """The relay that publishes the outbox's events."""
        return Relay(self.db, self.bus, outbox)

    def purge(self, rules: Sequence[Rule]) -> PurgeExpired:
        """The job that deletes rows whose retention period has ended."""
        return PurgeExpired(self.db, self.clock, rules)

    def process(
        self,
        servicers: Sequence[Servicer],
        background: Sequence[Runnable] = (),
        checks: Sequence[Callable[[], object]] = (),
    ) -> ServiceProcess:
        """Builds the process; it is ready while the database answers and no check raises."""
        database = self.database
        return ServiceProcess(
            servicers={servicer.contract: servicer for servicer in servicers},
            verifier=self.authorization.verifier,
            access=self.authorization.access,
            audit=PostgresAuditTrail(database) if database else None,
            background=background,
            checks=[*([database.check] if database else []), *checks],
            closing=self.closing,
        )
