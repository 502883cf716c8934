"""Prepares a database: its tables, the built-in roles, and the platform's own organization."""

from contextlib import closing

from adlib import permissions
from adlib.clock import SystemClock
from adlib.config import Environment
from adlib.db import Database, sources
from adlib.ids import new_id
from adlib.service import connect_redis
from auth_service import config
from auth_service.assembly import Core
from auth_service.authorization.model import ROLES
from auth_service.invalidations.service import CacheInvalidations
from auth_service.roles.store import upsert_built_in
from auth_service.signup.model import SignUp
from auth_service.signup.service import create_platform

MIGRATIONS = sources("auth_service", "outbox", "audit", "inbox", "idempotency", "documents")
_MIN_ADMIN_PASSWORD_LENGTH = 12


def seed_roles(database_url: str) -> None:
    """Stores the release's permissions and built-in roles."""
    with closing(Database(database_url)) as db, db.transaction() as tx:
        if upsert_built_in(tx, permissions.titles(), ROLES):
            CacheInvalidations(new_id).everything_changed(tx)


def create_admin(environment: Environment) -> None:
    """Creates the platform's own organization and its admin; does nothing if they exist."""
    settings = config.read(environment)
    admin = SignUp(
        email=environment.text("ADMIN_EMAIL"),
        password=environment.secret("ADMIN_PASSWORD", _MIN_ADMIN_PASSWORD_LENGTH),
        name=environment.text("ADMIN_NAME", "Platform admin"),
        organization_name="Platform",
        kind="PLATFORM",
    )
    with closing(Database(settings.database_url)) as db, connect_redis(settings.common.redis_url) as redis:
        core = Core.build(settings, db, redis, SystemClock())
        create_platform(db, core.new_users, core.registration, admin)
