"""Built-in roles are made those of the build; roles that organizations made are theirs."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from adplatform.options.v1.options_pb2 import Permission

from adlib import permissions
from adlib.db import Database
from adlib.ids import new_id
from auth_service.roles import store
from auth_service.roles.model import BUILT_IN, ROLES, Role, RoleExists

NOW = datetime(2026, 1, 2, tzinfo=UTC)
NO_ACCESS = uuid4()


@pytest.fixture
def db(database_url: str) -> Database:
    return Database(database_url)


def put(db: Database, *known: Role, titles: dict[int, str] | None = None) -> bool:
    with db.transaction() as tx:
        return store.put(tx, titles or permissions.titles(), known or ROLES)


def test_putting_says_whether_anything_was_different(db: Database) -> None:
    assert not put(db)
    manager = BUILT_IN["manager"]
    less = replace(manager, permissions=manager.permissions - {Permission.CAMPAIGNS_CREATE})
    assert put(db, less)
    assert store.find(db, NO_ACCESS, "manager") == less
    assert put(db)
    assert store.find(db, NO_ACCESS, "manager") == manager
    assert put(db, titles={**permissions.titles(), Permission.CAMPAIGNS_READ: "Look at campaigns"})
    assert put(db)
    assert not put(db)


def test_putting_writes_no_row_that_is_right_already(db: Database, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:

        def versions() -> dict[str, str]:
            return dict(connection.execute("SELECT code, xmin::text FROM roles").fetchall())

        before = versions()
        put(db, *(replace(role, description="Looks") if role.code == "member" else role for role in ROLES))
        after = versions()
    assert {code for code in before if before[code] != after[code]} == {"member"}


def test_an_organizations_own_roles_are_left_alone(db: Database, database_url: str) -> None:
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
    put(db)
    assert store.find(db, organization, own.code) == own
    assert store.find(db, NO_ACCESS, own.code) is None
    assert [role.code for role in store.of_organization(db, organization)][-1] == own.code
    assert {role.code for role in store.of_person(db, owner)} == set(BUILT_IN)
