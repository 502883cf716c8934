"""The contract of documents, over every implementation."""

import pytest

from adctl.pytest_servers import FreshDatabase
from adlib.db import Database, migrate
from adlib.documents import Documents, MemoryDocuments, PostgresDocuments


def prepare(url: str) -> None:
    migrate(url, ("adlib", "migrations/documents"))


@pytest.fixture(params=["memory", "postgres"])
def documents(request: pytest.FixtureRequest) -> Documents:
    if request.param == "memory":
        return MemoryDocuments()
    fresh_database: FreshDatabase = request.getfixturevalue("fresh_database")
    return PostgresDocuments(Database(fresh_database("documents", prepare)))


def test_the_newest_version_wins_in_whatever_order(documents: Documents) -> None:
    assert documents.get("c", "1") is None
    assert documents.put("c", "1", {"n": 2}, 2)
    assert not documents.put("c", "1", {"n": 1}, 1)
    assert not documents.put("c", "1", {"n": 22}, 2)
    assert documents.get("c", "1") == {"n": 2}
    assert documents.put("c", "1", {"n": 3}, 3)
    assert documents.get("c", "1") == {"n": 3}


def test_collections_are_apart(documents: Documents) -> None:
    documents.put("c", "1", {"n": 1}, 1)
    assert documents.get("d", "1") is None
