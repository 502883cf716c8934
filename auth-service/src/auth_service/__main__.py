"""auth-service: composes and serves."""

from adplatform.auth.v1 import auth_pb2 as pb

from adlib import identity, permissions, service
from adlib.access import CachedAccess
from adlib.audit import PostgresAuditTrail
from adlib.bus import RedisBus
from adlib.clock import SystemClock
from adlib.config import Environment
from adlib.db import Database
from adlib.ids import new_id
from adlib.outbox import Outbox, Relay
from adlib.rpc import Worker
from auth_service import config
from auth_service.access.marks import MarkPusher
from auth_service.access.service import AccessService
from auth_service.access.servicer import AccessServicer
from auth_service.accounts.passwords import Passwords
from auth_service.accounts.service import AccountService, NewAccount
from auth_service.accounts.servicer import AuthServicer
from auth_service.config import Config
from auth_service.roles.model import ROLES
from auth_service.roles.store import put as put_roles
from auth_service.sessions.refresh_tokens import RefreshTokens
from auth_service.sessions.service import SessionService

MIGRATIONS = (("adlib", "migrations/outbox"), ("adlib", "migrations/audit"), ("auth_service", "migrations"))


def compose(config: Config) -> Worker:
    """Puts the service together."""
    clock = SystemClock()
    db = Database(config.database_url)
    shared = service.connect_redis(config.common.redis_url)
    outbox = Outbox("auth", clock)
    sessions = SessionService(db, shared, config.signer, RefreshTokens(shared), clock, new_id)
    accounts = AccountService(db, outbox, sessions, Passwords(), clock, new_id)
    access = AccessService(db, clock)
    verifier = config.common.verifier(identity.parse_jwks(config.signer.jwks()).get)
    services = pb.DESCRIPTOR.services_by_name
    return Worker(
        servicers={
            services["AuthService"]: AuthServicer(accounts, sessions),
            services["AccessService"]: AccessServicer(access),
        },
        verifier=verifier,
        access=CachedAccess(access, shared),
        audit=PostgresAuditTrail(db),
        background=[Relay(db, RedisBus(shared), outbox), MarkPusher(db, shared)],
        checks=[db.check],
        closing=[db.close, shared.close],
    )


def seed_roles(database_url: str) -> None:
    """Makes the database's permissions and roles those of this build."""
    db = Database(database_url)
    with db.transaction() as tx:
        put_roles(tx, permissions.titles(), ROLES)
    db.close()


def create_admin(environment: Environment) -> None:
    """Makes the platform's own organization and its admin, unless they are there."""
    settings = config.read(environment)
    clock = SystemClock()
    db = Database(settings.database_url)
    shared = service.connect_redis(settings.common.redis_url)
    sessions = SessionService(db, shared, settings.signer, RefreshTokens(shared), clock, new_id)
    AccountService(db, Outbox("auth", clock), sessions, Passwords(), clock, new_id).ensure_platform(
        NewAccount(
            email=environment.text("ADMIN_EMAIL"),
            password=environment.secret("ADMIN_PASSWORD", 12),
            name=environment.text("ADMIN_NAME", "Platform admin"),
            organization_name="Platform",
            kind="PLATFORM",
        )
    )
    db.close()


if __name__ == "__main__":
    service.main(
        read=config.read,
        settings=lambda config: config.common.rpc,
        compose=compose,
        migrations=MIGRATIONS,
        after_migrations=seed_roles,
        commands={"create-admin": create_admin},
    )
