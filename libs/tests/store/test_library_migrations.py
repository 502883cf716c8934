"""The library's migrations can be rolled back and applied again with rows in the tables."""

from importlib.resources import files

import psycopg
import pytest
from yoyo import get_backend, read_migrations

from adlib.db import migrate
from adtesting.pytest_servers import FreshDatabase

ROWS = {
    "documents": "INSERT INTO documents (collection, id, data, version) VALUES ('c', '1', '{}', 1)",
    "inbox": "INSERT INTO inbox (consumer, event_id) VALUES ('c', gen_random_uuid())",
    "idempotency": (
        "INSERT INTO idempotency_keys (organization_id, method, key, request_hash) "
        "VALUES (gen_random_uuid(), 'm', 'k', '')"
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_later_migrations_can_be_rolled_back_with_rows(name: str, fresh_database: FreshDatabase) -> None:
    url = fresh_database("migrations")
    applied = migrate(url, ("adlib", f"migrations/{name}"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(ROWS[name].encode())
    backend = get_backend(url.replace("postgresql://", "postgresql+psycopg://", 1))
    every = read_migrations(str(files("adlib") / "migrations" / name))
    backend.rollback_migrations(backend.to_rollback(every.filter(lambda one: one.id != applied[0])))
    backend.connection.close()
    assert migrate(url, ("adlib", f"migrations/{name}")) == applied[1:]
    with psycopg.connect(url) as connection:
        table = "idempotency_keys" if name == "idempotency" else name
        assert connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (1,)  # noqa: S608 - names of ours
