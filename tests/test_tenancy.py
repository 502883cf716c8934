"""The lint that finds store statements without an organization or the suffix `_any_tenant`."""

import ast

import pytest
from make import tenancy

TABLES = """
metadata = MetaData()
campaigns = Table("campaigns", metadata, Column("organization_id", Uuid), Column("id", Uuid))
sites = Table("sites", metadata, Column("organization_id", Uuid), Column("id", Uuid))
events = Table("events", metadata, Column("id", Uuid))
"""


def findings(statement: str, function: str = "get", extra: str = "") -> list[str]:
    source = f"{extra}\n_GET = Query({statement})\ndef {function}(db): return db.one(_GET)\n"
    tables = tenancy.tenant_tables(ast.parse(TABLES))
    return [finding.split(": ", 1)[1] for finding in tenancy.check_store("store.py", ast.parse(source), tables)]


@pytest.mark.parametrize(
    "statement",
    [
        "select(campaigns).where(campaigns.c.organization_id == some_id)",
        "select(campaigns).where(campaigns.c.organization_id.in_(ids))",
        "update(campaigns).where(of(bindparam('of_organization')))",
        "insert(campaigns).values(id=1)",
        "select(events)",
    ],
)
def test_statement_with_the_organization_needs_no_suffix(statement: str) -> None:
    assert findings(statement) == []
    assert findings(statement, "get_any_tenant") == ["get_any_tenant → no suffix: its statements name the organization"]


@pytest.mark.parametrize(
    "statement",
    [
        "select(campaigns).where(campaigns.c.id == bindparam('id'))",
        "select(campaigns.c.organization_id)",
        "select(campaigns).where(campaigns.c.organization_id > bindparam('after'))",
        "select(campaigns).join(sites, campaigns.c.organization_id == sites.c.organization_id)",
        "delete(campaigns)",
    ],
)
def test_statement_without_the_organization_needs_the_suffix(statement: str) -> None:
    assert findings(statement) == ["get → get_any_tenant (_GET: no organization)"]
    assert findings(statement, "get_any_tenant") == []


def test_conditions_are_followed_through_the_modules_names() -> None:
    extra = "_ours = campaigns.c.organization_id == bindparam('o')\n_base = select(campaigns).where(_ours)"
    assert findings("_base.limit(1)", extra=extra) == []
    assert findings("_base.limit(1)", extra="_base = select(campaigns)") != []


def test_statement_written_inside_a_function_is_found() -> None:
    source = ast.parse("def get(db):\n    return db.one(Query(select(campaigns)))\n")
    assert list(tenancy.check_store("store.py", source, {"campaigns"})) == [
        "store.py:1: get → get_any_tenant (line 2: no organization)"
    ]


def test_checked_services_are_clean() -> None:
    assert [finding for folder in tenancy.CHECKED for finding in tenancy.check_service(folder)] == []
