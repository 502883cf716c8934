"""The permission check's environment: PostgreSQL with all memberships, Valkey, and auth-service behind gRPC."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from adplatform.auth.v1 import auth_pb2
from bench.permissions.rights import FAR_AWAY, PEOPLE

from adctl.embedded.postgres import PostgresServer
from adctl.embedded.valkey import ValkeyServer
from adlib import permissions
from adlib.access import CachedAccess, mark_cache_current, redis_time_ms
from adlib.clock import SystemClock
from adlib.db import Database, migrate
from adlib.rpc import Remote, ServiceProcess
from adlib.service import RemoteAccess, connect_redis
from adlib.telemetry import configure_logging
from adtesting import Identities, running
from auth_service.access.service import AccessService
from auth_service.access.servicer import AccessServicer
from auth_service.authorization.model import ROLES
from auth_service.roles.store import upsert_built_in

# The same rows as in rights.py, generated in the database. Foreign keys are satisfied, so their checks are off.
_ROWS = """
SET session_replication_role = replica;
CREATE TEMP TABLE numbers AS SELECT n, md5('user-' || n)::uuid AS user_id, md5('organization-' || n)::uuid AS id,
    CASE WHEN n = 0 THEN 'PLATFORM' WHEN n % 4 = 0 THEN 'PUBLISHER' ELSE 'ADVERTISER' END AS kind
    FROM generate_series(0, {people} - 1) AS n;
INSERT INTO users (id, email, name, email_verified_at, created_at, updated_at)
    SELECT user_id, n || '@example.com', 'Person', now(), now(), now() FROM numbers;
INSERT INTO sessions (id, user_id, created_at) SELECT md5('session-' || n)::uuid, user_id, now() FROM numbers;
INSERT INTO organizations (id, name, kind, owner_id, created_at, updated_at)
    SELECT id, 'Organization', kind, user_id, now(), now() FROM numbers;
INSERT INTO user_roles (user_id, organization_id, role_code, created_at)
    SELECT user_id, id, CASE kind WHEN 'PLATFORM' THEN 'admin' WHEN 'PUBLISHER' THEN 'publisher' ELSE 'owner' END, now()
    FROM numbers
    UNION ALL
    SELECT user_id, md5('organization-' || (n + 1) % {people})::uuid, 'manager', now() FROM numbers
    UNION ALL
    SELECT user_id, md5('organization-' || (n + {far}) % {people})::uuid, 'member', now() FROM numbers;
VACUUM ANALYZE;
"""


@dataclass(frozen=True, slots=True)
class Platform:
    valkey: ValkeyServer
    identities: Identities
    source: AccessService
    remote: RemoteAccess

    def cached(self) -> CachedAccess:
        """A service's access cache, with an empty in-process layer."""
        shared = connect_redis(self.valkey.url())
        # auth-service refreshes this marker all the time; here it is set once, for an hour.
        mark_cache_current(shared, redis_time_ms(shared) + 3_600_000)
        return CachedAccess(self.remote, shared)


@contextmanager
def platform() -> Iterator[Platform]:
    """Runs the servers during the block, and deletes their data at the end."""
    configure_logging("bench", "WARNING")
    with (
        tempfile.TemporaryDirectory(prefix="bench-permissions-") as folder,
        ValkeyServer(Path(folder) / "valkey", fsync=False) as valkey,
        _postgres(Path(folder) / "postgres") as url,
    ):
        db = Database(url)
        _fill(db, url)
        source = AccessService(db, SystemClock())
        identities = Identities("auth-service")
        caller = identities.service("campaign-service")
        worker = ServiceProcess(
            servicers={auth_pb2.DESCRIPTOR.services_by_name["AccessService"]: AccessServicer(source)},
            verifier=identities.verifier(),
            access=source,
            closing=[db.close],
        )
        with running(worker) as server:
            remote = Remote("auth-service", f"127.0.0.1:{server.port}", caller)
            yield Platform(valkey, identities, source, RemoteAccess(remote))
            remote.close()


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    server = PostgresServer(folder, fsync=False)
    try:
        with server:
            yield server.url()
    finally:
        server.cluster.delete()


def _fill(db: Database, url: str) -> None:
    migrate(url, ("auth_service", "migrations"))
    with db.transaction() as tx:
        upsert_built_in(tx, permissions.titles(), ROLES)
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in _ROWS.format(people=PEOPLE, far=FAR_AWAY).split(";\n"):
            connection.execute(statement.encode())
