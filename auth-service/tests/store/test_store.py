"""Users, organizations, sessions and roles in the database."""

from datetime import UTC, datetime, timedelta
from importlib.resources import files
from uuid import uuid4

import pytest
from yoyo import get_backend, read_migrations

from adlib import permissions
from adlib.db import Database, UniqueViolated, migrate
from adlib.ids import new_id
from auth_service.accounts.store import memberships
from auth_service.authorization.model import ROLES
from auth_service.credentials import store as credentials
from auth_service.provisioning import MIGRATIONS, seed_roles
from auth_service.roles.store import upsert_built_in
from auth_service.sessions import store as sessions
from auth_service.sessions.model import Session
from auth_service.tenancy import store as tenancy
from auth_service.tenancy.model import Organization
from auth_service.users import store as users
from auth_service.users.model import EmailTaken, User

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def db(database_url: str) -> Database:
    return Database(database_url)


def add(db: Database, *, kind: str = "ADVERTISER") -> tuple[User, Organization, Session]:
    user = User(new_id(), f"{uuid4().hex}@example.com", "Ada")
    organization = Organization(new_id(), "Acme", kind)
    session = Session(new_id(), user.id)
    with db.transaction() as tx:
        users.add(tx, user, NOW)
        credentials.set_password(tx, user.id, "hash", NOW)
        tenancy.add(tx, organization, user.id, NOW)
        sessions.add(tx, session, NOW)
    return user, organization, session


def test_duplicate_email_is_refused_without_ending_the_transaction(db: Database) -> None:
    user, _, _ = add(db)
    with db.transaction() as tx:
        with pytest.raises(EmailTaken):
            users.add(tx, User(new_id(), user.email, "Eve"), NOW)
        assert credentials.by_email(tx, user.email) == (user, "hash")


def test_only_one_platform_organization_exists(db: Database) -> None:
    assert not tenancy.platform_exists(db)
    add(db, kind="PLATFORM")
    assert tenancy.platform_exists(db)
    with pytest.raises(UniqueViolated, match="organizations_one_platform"):
        add(db, kind="PLATFORM")


def test_session_ends_once(db: Database) -> None:
    user, _, session = add(db)
    before = NOW - timedelta(seconds=1)
    assert [one.id for one in sessions.list_live(db, user.id, before)] == [session.id]
    with db.transaction() as tx:
        assert sessions.end(tx, session.id, NOW)
        assert not sessions.end(tx, session.id, NOW)
    assert sessions.list_live(db, user.id, before) == []


def test_rehash_does_not_overwrite_changed_password(db: Database) -> None:
    user, _, _ = add(db)
    with db.transaction() as tx:
        credentials.set_password(tx, user.id, "changed", NOW)
        credentials.rehash(tx, user.id, "hash", "renewed", NOW)
        assert credentials.by_email(tx, user.email) == (user, "changed")
        credentials.rehash(tx, user.id, "changed", "renewed", NOW)
        assert credentials.by_email(tx, user.email) == (user, "renewed")


def test_seeding_roles_again_keeps_memberships(db: Database) -> None:
    user, _, _ = add(db)
    before = memberships(db, user.id)
    with db.transaction() as tx:
        upsert_built_in(tx, permissions.titles(), ROLES)
    assert memberships(db, user.id) == before


def test_migrations_roll_back_and_forward_with_rows(db: Database, database_url: str) -> None:
    _, _, session = add(db)
    with db.transaction() as tx:
        sessions.set_rotation(tx, session.id, b"hash", b"salt", NOW)
    db.close()
    backend = get_backend(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    own = read_migrations(str(files("auth_service") / "migrations"))
    backend.rollback_migrations(backend.to_rollback(own))
    backend.connection.close()
    assert migrate(database_url, *MIGRATIONS) == [one.id for one in own]
    seed_roles(database_url)
