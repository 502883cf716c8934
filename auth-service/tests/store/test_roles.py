"""The release's built-in roles are stored; custom roles are not changed."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from adplatform.options.v1.options_pb2 import Permission

from adlib import permissions
from adlib.db import Database
from adlib.ids import new_id
from auth_service.authorization.model import BUILT_IN, ROLES, Role
from auth_service.authorization.store import find_role
from auth_service.roles import store
from auth_service.roles.model import RoleExists

NOW = datetime(2026, 1, 2, tzinfo=UTC)
NO_ACCESS = uuid4()


@pytest.fixture
def db(database_url: str) -> Database:
    return Database(database_url)


def upsert(db: Database, *known: Role, titles: dict[int, str] | None = None) -> bool:
    with db.transaction() as tx:
        return store.upsert_built_in(tx, titles or permissions.titles(), known or ROLES)


def test_upsert_reports_whether_anything_changed(db: Database) -> None:
    assert not upsert(db)
    manager = BUILT_IN["manager"]
    less = replace(manager, permissions=manager.permissions - {Permission.CAMPAIGNS_CREATE})
    assert upsert(db, less)
    assert find_role(db, NO_ACCESS, "manager") == less
    assert upsert(db)
    assert find_role(db, NO_ACCESS, "manager") == manager
    assert upsert(db, titles={**permissions.titles(), Permission.CAMPAIGNS_READ: "Look at campaigns"})
    assert upsert(db)
    assert not upsert(db)


def test_upsert_writes_only_changed_rows(db: Database, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:

        def versions() -> dict[str, str]:
            return dict(connection.execute("SELECT code, xmin::text FROM roles").fetchall())

        before = versions()
        upsert(db, *(replace(role, description="Looks") if role.code == "member" else role for role in ROLES))
        after = versions()
    assert {code for code in before if before[code] != after[code]} == {"member"}


def test_seeding_leaves_custom_roles_unchanged(db: Database, database_url: str) -> None:
    owner, organization = new_id(), new_id()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO users (id, email, name, created_at, updated_at) VALUES (%s, 'a@b.c', 'A', now(), now())",
            [owner],
        )
        connection.execute(
            "INSERT INTO organizations (id, name, kind, owner_id, created_at, updated_at)"
            " VALUES (%s, 'O', 'PUBLISHER', %s, now(), now())",
            [organization, owner],
        )
    own = Role(
        str(new_id()), "Mine", "", frozenset({Permission.PUBLISHERS_READ}), frozenset({"PUBLISHER"}), organization
    )
    with db.transaction() as tx:
        store.add(tx, own, NOW)
        with pytest.raises(RoleExists):
            store.add(tx, replace(own, code=str(new_id()), name="MINE"), NOW)
    upsert(db)
    assert find_role(db, organization, own.code) == own
    assert find_role(db, NO_ACCESS, own.code) is None
    assert [role.code for role in store.of_organization(db, organization)][-1] == own.code
    assert {role.code for role in store.of_user(db, owner)} == set(BUILT_IN)
