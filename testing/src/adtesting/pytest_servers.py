"""A pytest plugin: one PostgreSQL and one Valkey per test run, shared by all xdist workers.

The controller starts them and passes their addresses to the workers, so that they stop even if a worker dies.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import pytest

from adctl import ports
from adctl.embedded.postgres import PostgresServer
from adctl.embedded.valkey import DATABASES, ValkeyServer
from adctl.supervision.children import disable_grpc_fork_support
from adtesting.small_disk import small_disk_folder

Addresses = dict[str, str]
_KEY = "adplatform_servers"
# The port range is divided into this many parts; each worker uses ports of its own part.
_PORT_PARTS = 8


class FreshDatabase(Protocol):
    """Creates an empty database, or a copy of one that `prepare` has prepared once."""

    def __call__(self, name_hint: str = "test", prepare: Callable[[str], None] | None = None) -> str:
        """Creates the database and returns its URL; the hint becomes part of its name."""


class ReusedDatabase(Protocol):
    """Returns the URL of a database with the rows that `prepare` leaves."""

    def __call__(self, name_hint: str, prepare: Callable[[str], None]) -> str:
        """Resets it, or creates it the first time; the hint becomes part of its name."""


class RunServers:
    """The two servers of this test run, started on first use."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._addresses: Addresses | None = None

    def addresses(self) -> Addresses:
        """Returns the servers' addresses, and starts them on the first call; only for the main thread."""
        if self._addresses is None:
            folder = Path(tempfile.mkdtemp(prefix="adplatform-tests-"))
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
            valkey = self._stack.enter_context(ValkeyServer(folder / "valkey", fsync=False))
            postgres = self._stack.enter_context(PostgresServer(folder / "postgres", fsync=False))
            self._addresses = {"postgres": postgres.url(), "redis": valkey.url()}
        return self._addresses

    def stop(self) -> None:
        """Stops the servers."""
        self._stack.close()


_servers = pytest.StashKey[RunServers]()


def pytest_configure(config: pytest.Config) -> None:
    """Prepares the servers without starting them, because runs of pure tests need none."""
    disable_grpc_fork_support()
    worker_input = getattr(config, "workerinput", {})
    # The controller uses the last part; the workers are named gw0, gw1, …
    number = int(worker_input["workerid"].removeprefix("gw")) if worker_input else _PORT_PARTS - 1
    os.environ[ports.VARIABLE] = ports.part(number, of=_PORT_PARTS)
    config.stash[_servers] = RunServers()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Passes the servers' addresses to an xdist worker before it starts."""
    node.workerinput[_KEY] = node.config.stash[_servers].addresses()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stops the servers at the end of the run."""
    config.stash[_servers].stop()


@pytest.fixture(scope="session")
def server_addresses(request: pytest.FixtureRequest) -> Addresses:
    """The addresses of this run's PostgreSQL and Valkey."""
    worker_input = getattr(request.config, "workerinput", {})
    addresses: Addresses = worker_input[_KEY] if _KEY in worker_input else request.config.stash[_servers].addresses()
    return addresses


@pytest.fixture(scope="session")
def postgres_server_url(server_addresses: Addresses) -> str:
    """The URL of the database `postgres` of this run's PostgreSQL, as superuser."""
    return server_addresses["postgres"]


# Tables that `prepare` leaves with rows are copied, and restored by _RESET.
_SAVE = """
DO $$
DECLARE
    name text;
BEGIN
    CREATE SCHEMA prepared;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('CREATE TABLE prepared.%1$I AS SELECT * FROM public.%1$I', name);
    END LOOP;
END
$$
"""
# The role of a replica ignores foreign keys and the triggers that protect the ledger.
_RESET = """
DO $$
DECLARE
    name text;
    has_rows boolean;
BEGIN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    SET LOCAL session_replication_role = replica;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('DELETE FROM public.%I', name);
        EXECUTE format('SELECT EXISTS (SELECT FROM prepared.%I)', name) INTO has_rows;
        IF has_rows THEN
            EXECUTE format('INSERT INTO public.%1$I OVERRIDING SYSTEM VALUE SELECT * FROM prepared.%1$I', name);
        END IF;
    END LOOP;
END
$$
"""


class Databases:
    """Creates databases, from templates that are prepared once."""

    def __init__(self, server_url: str, worker: str) -> None:
        self._server_url = server_url
        self._worker = worker
        self._templates: dict[Callable[[str], None], str] = {}
        self._reused: dict[Callable[[str], None], str] = {}
        self._number = 0

    def make(self, name_hint: str, prepare: Callable[[str], None] | None) -> str:
        """Creates a database and returns its URL."""
        if prepare is None:
            return self._create(name_hint, "template0")
        if prepare not in self._templates:
            url = self._create(name_hint, "template0")
            prepare(url)
            self._templates[prepare] = urlsplit(url).path[1:]
        return self._create(name_hint, self._templates[prepare])

    def reuse(self, name_hint: str, prepare: Callable[[str], None]) -> str:
        """Returns the URL of one database a worker, with the rows that `prepare` leaves; sequences continue."""
        import psycopg

        is_new = prepare not in self._reused
        url = self._reused[prepare] = self._reused.get(prepare) or self.make(name_hint, prepare)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_SAVE if is_new else _RESET)
        return url

    @contextmanager
    def dropped_at_end(self) -> Iterator[FreshDatabase]:
        """A function that creates databases, which are dropped at the end of the block."""
        made: list[str] = []

        def make(name_hint: str = "test", prepare: Callable[[str], None] | None = None) -> str:
            made.append(self.make(name_hint, prepare))
            return made[-1]

        yield make
        for url in made:
            self.drop(url)

    def drop_reused(self) -> None:
        """Drops the databases of `reuse`."""
        for url in self._reused.values():
            self.drop(url)

    def drop(self, url: str) -> None:
        """Drops a database, and closes its connections."""
        self._execute('DROP DATABASE IF EXISTS "{}" WITH (FORCE)', urlsplit(url).path[1:])

    def _create(self, name_hint: str, template: str) -> str:
        self._number += 1
        name = f"{name_hint[:40]}_{self._worker}_{self._number}"
        # With fsync off, copying files is three times as fast as writing them to the WAL.
        self._execute('CREATE DATABASE "{}" TEMPLATE "{}" STRATEGY file_copy', name, template)
        return urlunsplit(urlsplit(self._server_url)._replace(path="/" + name))

    def _execute(self, statement: str, *names: str) -> None:
        import psycopg

        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(statement.format(*(name.replace('"', "") for name in names)).encode())


@pytest.fixture(scope="session")
def databases(postgres_server_url: str, worker_name: str) -> Iterator[Databases]:
    """The databases of this worker."""
    made = Databases(postgres_server_url, worker_name)
    yield made
    made.drop_reused()


@pytest.fixture(scope="session")
def worker_name(request: pytest.FixtureRequest) -> str:
    """The name of this test process: gw0, gw1, … or main."""
    return str(getattr(request.config, "workerinput", {}).get("workerid", "main"))


@pytest.fixture
def fresh_database(databases: Databases) -> Iterator[FreshDatabase]:
    """A function that creates databases, which are dropped after the test."""
    with databases.dropped_at_end() as make:
        yield make


@pytest.fixture
def reused_database(databases: Databases) -> ReusedDatabase:
    """A function that returns a database as its `prepare` left it, in a tenth of the time of a new one.

    For tests that change rows, not tables. Each `prepare` has one database a worker.
    """
    return databases.reuse


@pytest.fixture(scope="session")
def fresh_session_database(databases: Databases) -> Iterator[FreshDatabase]:
    """A function that creates databases, which are dropped at the end of this worker's run."""
    with databases.dropped_at_end() as make:
        yield make


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """The folder with the small filesystem, in tests with the decorator `adtesting.small_disk.on_small_disk`."""
    return small_disk_folder(tmp_path)


@pytest.fixture
def redis_url(server_addresses: Addresses, worker_name: str) -> str:
    """The URL of this worker's own logical database in Valkey, emptied before every test."""
    import redis

    # A run without workers uses number 0.
    number = 1 + int(worker_name[2:]) % (DATABASES - 1) if worker_name.startswith("gw") else 0
    url = server_addresses["redis"].rsplit("/", 1)[0] + f"/{number}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url
