"""Every table has a retention rule: a period, or the reason why no rows are deleted."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import psycopg
import pytest

from adlib.clock import SystemClock
from adlib.db import Database, migrate
from adlib.purge import PurgeExpired
from adlib.retention import NotPurged, Retention, Rule
from adtesting.pytest_servers import FreshDatabase

SERVICES = ("auth", "campaign", "payment", "publisher", "pixel")
TABLES = """
    SELECT table_name FROM information_schema.tables
    WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'
"""
# Tables of yoyo and the migration runner, with one row per migration.
OF_MIGRATIONS = {"_yoyo_log", "_yoyo_migration", "_yoyo_version", "yoyo_lock", "migration_releases"}


def without_a_rule(tables: set[str], rules: Sequence[Rule]) -> set[str]:
    return tables - {rule.table for rule in rules}


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rules(service: str) -> Sequence[Rule]:
    found: Sequence[Rule] = import_module(f"{service}_service.retention").RULES
    return found


@pytest.fixture
def url(service: str, fresh_database: FreshDatabase) -> str:
    migrations: Any = import_module(f"{service}_service.__main__").MIGRATIONS
    return fresh_database(f"retention_{service}", lambda url: migrate(url, *migrations) and None)


def test_every_table_has_a_retention_or_a_reason_to_have_none(url: str, rules: Sequence[Rule]) -> None:
    with psycopg.connect(url) as sql:
        tables = {name for (name,) in sql.execute(TABLES)} - OF_MIGRATIONS
    assert without_a_rule(tables, rules) == set()
    assert {rule.table for rule in rules} - tables == set(), "rules of tables that do not exist"
    both = {rule.table for rule in rules if isinstance(rule, NotPurged)} & {
        rule.table for rule in rules if isinstance(rule, Retention)
    }
    assert both == set()
    assert [rule for rule in rules if isinstance(rule, NotPurged) and len(rule.reason) < 10] == []


def test_table_without_a_rule_is_found(service: str, url: str, rules: Sequence[Rule]) -> None:
    with psycopg.connect(url) as sql:
        sql.execute("CREATE TABLE unlisted (id uuid PRIMARY KEY)")
        tables = {name for (name,) in sql.execute(TABLES)} - OF_MIGRATIONS
    assert without_a_rule(tables, rules) == {"unlisted"}


def test_purge_of_every_retention_uses_an_index(url: str, rules: Sequence[Rule]) -> None:
    db = Database(url)
    assert PurgeExpired(db, SystemClock(), rules).run().success
    db.close()
    with psycopg.connect(url) as sql:
        sql.execute("SET enable_seqscan = off")
        for rule in rules:
            if isinstance(rule, Retention):
                is_expired = f"{rule.time} <= now() AND {rule.condition}"
                found = f"SELECT ctid FROM {rule.table} WHERE {is_expired} ORDER BY {rule.time}"  # noqa: S608 - the rules' own
                plan = "\n".join(line for (line,) in sql.execute(f"EXPLAIN {found} LIMIT 1".encode()))
                assert "Index" in plan, (rule, plan)
