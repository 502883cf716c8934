"""Jobs count their items, and list those that failed with the reasons."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from adlib import jobs
from adlib.db import Database
from adlib.errors import Internal, NotFound
from adtesting.pytest_servers import FreshDatabase


@pytest.fixture
def db(fresh_database: FreshDatabase) -> Iterator[Database]:
    database = Database(fresh_database("jobs"))
    yield database
    database.close()


def fail(error: Exception) -> Callable[[object], None]:
    def work(_item: object) -> None:
        raise error

    return work


def test_job_lists_failed_items_with_reasons(db: Database) -> None:
    def work(item: int) -> None:
        if item % 2:
            raise NotFound(f"there is no {item}")

    result = jobs.run(db, "count", lambda: range(4), work, lambda item: f"number {item}")
    assert (result.success, result.stats.total, result.stats.error_count) == (False, 4, 2)
    assert [(one.item, one.reason) for one in result.failures] == [
        ("number 1", "there is no 1"), ("number 3", "there is no 3")
    ]  # fmt: skip
    assert not jobs.run(db, "count", lambda: [0, 2], work).failures


def test_at_most_20_failures_are_listed_and_all_are_counted(db: Database) -> None:
    result = jobs.run(db, "many", lambda: ["x" * 1_000] * 21, fail(ValueError("y" * 1_000)))
    assert (len(result.failures), result.stats.error_count) == (20, 21)
    assert {len(one.item) for one in result.failures} == {200}
    assert {len(one.reason) for one in result.failures} == {300}


def test_concurrent_run_of_a_job_does_nothing(db: Database) -> None:
    with db.advisory_lock("job:busy"):
        result = jobs.run(db, "busy", lambda: [1], fail(ValueError("never")))
    assert (result.success, result.message, result.stats.total) == (False, "busy is already running", 0)


def internal(cause: Exception) -> Internal:
    error = Internal()
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotFound("there is no such payment"), "there is no such payment"),
        (KeyError("id"), "KeyError: 'id'"),
        (internal(psycopg.Error("no\nsuch   column")), "Error: no such column"),
        (Internal(), "Internal: internal error"),
        (ValueError("http://u:pw@node.example:85/v3/s3cret?key=1 down"), "ValueError: http://node.example:85 down"),
        (ValueError("for url 'https://node.example/v3/s3cret'"), "ValueError: for url 'https://node.example'"),
        (ValueError("postgresql://payment:s3cret@db/payment"), "ValueError: postgresql://db"),
    ],
    ids=["app error", "unexpected", "internal", "without cause", "node", "quoted", "database"],
)  # fmt: skip
def test_failure_reason_contains_no_secret(error: Exception, reason: str) -> None:
    assert jobs.explain(error) == reason
