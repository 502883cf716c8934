"""People, organizations and roles in the database."""

from datetime import UTC, datetime, timedelta
from importlib.resources import files
from uuid import uuid4

import pytest
from yoyo import get_backend, read_migrations

from adlib import permissions
from adlib.db import Database, UniqueViolated, migrate
from adlib.ids import new_id
from auth_service.__main__ import MIGRATIONS, seed_roles
from auth_service.accounts import store
from auth_service.accounts.model import EmailTaken, Organization, User
from auth_service.roles.model import ROLES
from auth_service.roles.store import put
from auth_service.sessions import store as sessions
from auth_service.sessions.model import Session

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def db(database_url: str) -> Database:
    return Database(database_url)


def add(db: Database, *, kind: str = "ADVERTISER", role: str = "owner") -> tuple[User, Organization, Session]:
    user = User(new_id(), f"{uuid4().hex}@example.com", "Ada")
    organization = Organization(new_id(), "Acme", kind)
    session = Session(new_id(), user.id)
    with db.transaction() as tx:
        store.add_user(tx, user, "hash", NOW)
        store.add_organization(tx, organization, user.id, role, NOW)
        sessions.add(tx, session, NOW)
    return user, organization, session


def test_an_email_is_taken_once_and_the_transaction_goes_on(db: Database) -> None:
    user, _, _ = add(db)
    with db.transaction() as tx:
        with pytest.raises(EmailTaken):
            store.add_user(tx, User(new_id(), user.email, "Eve"), "hash", NOW)
        assert store.by_email(tx, user.email) == (user, "hash")


def test_there_is_one_platform(db: Database) -> None:
    assert not store.platform_exists(db)
    add(db, kind="PLATFORM", role="admin")
    assert store.platform_exists(db)
    with pytest.raises(UniqueViolated, match="organizations_one_platform"):
        add(db, kind="PLATFORM", role="admin")


def test_an_ended_session_is_live_no_longer_and_ends_once(db: Database) -> None:
    user, _, session = add(db)
    before = NOW - timedelta(seconds=1)
    assert [one.id for one in sessions.of_user(db, user.id, before)] == [session.id]
    with db.transaction() as tx:
        assert sessions.end(tx, session.id, NOW)
        assert not sessions.end(tx, session.id, NOW)
    assert sessions.of_user(db, user.id, before) == []


def test_a_hash_is_not_renewed_over_a_password_that_was_changed_meanwhile(db: Database) -> None:
    user, _, _ = add(db)
    with db.transaction() as tx:
        store.set_password(tx, user.id, "changed", NOW)
        store.rehash(tx, user.id, "hash", "renewed", NOW)
        assert store.by_email(tx, user.email) == (user, "changed")
        store.rehash(tx, user.id, "changed", "renewed", NOW)
        assert store.by_email(tx, user.email) == (user, "renewed")


def test_roles_can_be_put_again(db: Database) -> None:
    user, _, _ = add(db)
    before = store.memberships(db, user.id)
    with db.transaction() as tx:
        put(tx, permissions.titles(), ROLES)
    assert store.memberships(db, user.id) == before


def test_migrations_go_down_and_up_again_with_rows_in_the_tables(db: Database, database_url: str) -> None:
    _, _, session = add(db)
    with db.transaction() as tx:
        sessions.rotated(tx, session.id, b"hash", b"salt", NOW)
    db.close()
    backend = get_backend(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    own = read_migrations(str(files("auth_service") / "migrations"))
    backend.rollback_migrations(backend.to_rollback(own))
    backend.connection.close()
    assert migrate(database_url, *MIGRATIONS) == [one.id for one in own]
    seed_roles(database_url)
