"""The fixtures for the tests of the whole tree."""

from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from adtesting.pytest_servers import FreshDatabase


def _put_table(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE things (name text)")


def test_fresh_databases_are_separate(fresh_database: FreshDatabase) -> None:
    first, second = fresh_database("one"), fresh_database("one")
    _put_table(first)
    with psycopg.connect(second) as connection:
        assert connection.execute("SELECT to_regclass('things')").fetchone() == (None,)


def test_prepared_database_is_prepared_once_and_copied(fresh_database: FreshDatabase) -> None:
    calls: list[str] = []

    def prepare(url: str) -> None:
        calls.append(url)
        _put_table(url)

    urls = [fresh_database("prepared", prepare) for _ in range(3)]
    with psycopg.connect(urls[0], autocommit=True) as connection:
        connection.execute("INSERT INTO things VALUES ('only here')")
    with psycopg.connect(urls[2]) as connection:
        assert connection.execute("SELECT count(*) FROM things").fetchone() == (0,)
    assert len(calls) == 1
    assert len(set(urls)) == 3


def _prepare_seed(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE roles (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text)")
        connection.execute("CREATE TABLE members (role_id bigint REFERENCES roles)")
        connection.execute("INSERT INTO roles (name) VALUES ('owner')")


@pytest.mark.parametrize("run", [1, 2])
def test_reused_database_has_only_prepared_rows(reused_database, run: int) -> None:
    url = reused_database("reused", _prepare_seed)
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute("SELECT id, name FROM roles").fetchall() == [(1, "owner")]
        assert connection.execute("SELECT count(*) FROM members").fetchone() == (0,)
        connection.execute("UPDATE roles SET name = 'changed'")
        connection.execute("INSERT INTO roles (name) VALUES ('another')")
        connection.execute("INSERT INTO members VALUES (1)")
    assert reused_database("reused", _prepare_seed) == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT name FROM roles").fetchall() == [("owner",)]


def test_valkey_requires_a_password(redis_url: str) -> None:
    with redis.Redis(port=urlsplit(redis_url).port or 0) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_valkey_is_empty(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "over")


def test_valkey_is_emptied_between_tests(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.get("left") is None
