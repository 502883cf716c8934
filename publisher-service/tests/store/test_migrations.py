"""Migrations are rolled back and applied again with rows in the tables."""

from importlib.resources import files

import psycopg

from adlib.db import migrate
from adtesting.pytest_servers import FreshDatabase
from publisher_service.__main__ import MIGRATIONS


def test_migrations_can_be_rolled_back_with_rows_and_applied_again(fresh_database: FreshDatabase) -> None:
    url = fresh_database("publisher")
    applied = migrate(url, *MIGRATIONS)
    own = sorted(id for id in applied if id.startswith("publisher-"))
    assert len(own) == 3
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO publishers VALUES (gen_random_uuid(), gen_random_uuid(), 'a', 'b', 'PENDING', 1, now(), now())"
        )
        connection.execute(
            "INSERT INTO sites SELECT gen_random_uuid(), organization_id, id, 'a', 'b', now() FROM publishers"
        )
        for id in reversed(own):
            connection.execute((files("publisher_service") / "migrations" / f"{id}.rollback.sql").read_bytes())
            connection.execute("DELETE FROM _yoyo_migration WHERE migration_id = %s", [id])
    assert sorted(migrate(url, *MIGRATIONS)) == own
    assert migrate(url, *MIGRATIONS) == []
