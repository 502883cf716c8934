"""The contract of the document store, tested with every implementation."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from adctl import ports
from adlib.clock import FixedClock
from adlib.db import Database, migrate
from adlib.documents import Documents, PostgresDocuments
from adlib.errors import Unavailable
from adtesting.documents import MemoryDocuments
from adtesting.pytest_servers import FreshDatabase

# All tests of one emulator run in the same xdist worker.
pytestmark = pytest.mark.xdist_group("firestore")

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SOON = NOW + timedelta(minutes=1)


def prepare(url: str) -> None:
    migrate(url, ("adlib", "migrations/documents"))


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def postgres(clock: FixedClock, fresh_database: FreshDatabase) -> Iterator[Documents]:
    db = Database(fresh_database("documents", prepare))
    yield PostgresDocuments(db, clock)
    db.close()


@pytest.fixture
def firestore(clock: FixedClock, firestore_emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Documents]:
    from adlib.documents.firestore import FirestoreDocuments, connect

    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_emulator)
    client = connect(f"test-{uuid4().hex[:20]}")
    # The emulator is slow after its start and on a busy machine.
    yield FirestoreDocuments(client, clock, timeout_s=30)
    client.close()


@pytest.fixture(params=["memory", "postgres", "firestore"])
def documents(request: pytest.FixtureRequest, clock: FixedClock) -> Documents:
    if request.param == "memory":
        return MemoryDocuments(clock)
    made: Documents = request.getfixturevalue(request.param)
    return made


def test_newest_version_wins_in_any_order(documents: Documents) -> None:
    assert documents.get("c", "1") is None
    assert documents.put("c", "1", {"n": 2, "old": True}, 2)
    assert not documents.put("c", "1", {"n": 1}, 1)
    assert not documents.put("c", "1", {"n": 22}, 2)
    assert documents.get("c", "1") == {"n": 2, "old": True}
    assert documents.put("c", "1", {"n": 3}, 3)
    assert documents.get("c", "1") == {"n": 3}


def test_put_without_a_version_replaces_the_document(documents: Documents) -> None:
    later = int(SOON.timestamp() * 1e6)
    assert documents.put("c", "1", {"n": 1}, later)
    assert documents.put("c", "1", {"n": 2})
    assert documents.put("c", "1", {"n": 3})
    assert documents.get("c", "1") == {"n": 3}
    assert not documents.put("c", "1", {"n": 4}, later + 2)
    assert documents.put("c", "1", {"n": 4}, later + 3)


def test_json_values_are_stored_unchanged(documents: Documents) -> None:
    data = {"i": 2**53, "f": 0.5, "t": "ä\U0001f600", "b": False, "n": None, "l": [1, {"a": [2]}], "m": {"x.y": {}}}
    documents.put("c", "1", data, 1)
    assert documents.get("c", "1") == data


def test_collections_are_separate(documents: Documents) -> None:
    documents.put("users/1/notes", "1", {"n": 1}, 1)
    for other in ("notes", "users/2/notes"):
        assert documents.get(other, "1") is None
        assert documents.list(other, 9) == []
        assert documents.count(other, 9) == 0
        assert documents.update(other, "1", {"n": 2}) is None
        assert not documents.delete(other, "1")
    assert documents.get("users/1/notes", "1") == {"n": 1}


@pytest.mark.parametrize("id", [".", "..", "__x__", "a/b", "50%", "%2E", "ä"])
def test_an_id_is_any_text(documents: Documents, id: str) -> None:
    documents.put("c", id, {"n": 1})
    assert documents.get("c", id) == {"n": 1}
    assert documents.list("c", 2) == [(id, {"n": 1})]


def test_list_is_ordered_by_version_and_limited(documents: Documents) -> None:
    for id, version in (("a", 2), ("b", 3), ("c", 1), ("d", 2)):
        documents.put("c", id, {"v": version}, version)
    assert documents.list("c", 3) == [("b", {"v": 3}), ("d", {"v": 2}), ("a", {"v": 2})]
    assert [id for id, _ in documents.list("c", 9)] == ["b", "d", "a", "c"]
    assert (documents.count("c", 3), documents.count("c", 9)) == (3, 4)


def test_update_keeps_other_fields_and_the_version(documents: Documents) -> None:
    documents.put("c", "1", {"read": False, "a.b": 1, "n": {"x": 1}}, 5, expires_at=SOON)
    after = {"read": True, "a.b": 2, "n": {"x": 1}}
    assert documents.update("c", "1", {"read": True, "a.b": 2}) == after
    assert documents.get("c", "1") == after
    assert not documents.put("c", "1", {"read": False}, 5)


@pytest.mark.parametrize("kind", ["postgres", "firestore"])
def test_concurrent_updates_are_not_lost(kind: str, request: pytest.FixtureRequest) -> None:
    documents: Documents = request.getfixturevalue(kind)
    documents.put("c", "1", {})
    fields = [f"f{number}" for number in range(12)]
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda field: documents.update("c", "1", {field: 1}), fields))
        stored = list(threads.map(lambda version: documents.put("c", "2", {"v": version}, version), [7] * 6))
    assert documents.get("c", "1") == dict.fromkeys(fields, 1)
    assert stored.count(True) == 1


def test_deleted_document_can_be_created_again(documents: Documents) -> None:
    documents.put("c", "1", {"n": 1}, 7)
    assert documents.delete("c", "1")
    assert not documents.delete("c", "1")
    assert documents.get("c", "1") is None
    assert documents.put("c", "1", {"n": 2}, 1)


def test_expired_document_does_not_exist(documents: Documents, clock: FixedClock) -> None:
    documents.put("c", "old", {"n": 1}, 9, expires_at=SOON)
    documents.put("c", "kept", {"n": 2}, 1)
    documents.put("c", "later", {"n": 3}, 2, expires_at=SOON + timedelta(microseconds=1))
    assert documents.get("c", "old") == {"n": 1}
    clock.at = SOON
    assert documents.get("c", "old") is None
    assert documents.list("c", 2) == [("later", {"n": 3}), ("kept", {"n": 2})]
    assert documents.count("c", 9) == 2
    assert documents.update("c", "old", {"n": 4}) is None
    assert not documents.delete("c", "old")
    assert documents.put("c", "old", {"n": 5}, 8)
    assert documents.get("c", "old") == {"n": 5}


def test_unreachable_firestore_is_unavailable_within_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    from adlib.documents.firestore import FirestoreDocuments, connect

    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{ports.free_port()}")
    client = connect("test")
    documents = FirestoreDocuments(client, timeout_s=0.5)
    start = datetime.now(UTC)
    with pytest.raises(Unavailable):
        documents.put("c", "1", {})
    assert datetime.now(UTC) - start < timedelta(seconds=10)
    client.close()
