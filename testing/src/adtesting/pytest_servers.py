"""A pytest plugin: one PostgreSQL and one Valkey a test run, shared by all xdist workers.

The controller starts them and tells the workers where they are, so nothing is left behind when a worker dies.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import pytest

from adctl import ports
from adctl.children import forget_grpc_at_fork
from adctl.embedded.postgres import PostgresServer
from adctl.embedded.valkey import DATABASES, ValkeyServer
from adtesting.small_disk import given

Addresses = dict[str, str]
_KEY = "adplatform_servers"
# Each worker chooses ports from a part of its own.
_PARTS = 8


class FreshDatabase(Protocol):
    """Makes an empty database, or with `prepare` a copy of one that was prepared once, and returns its URL."""

    def __call__(self, name_hint: str = "test", prepare: Callable[[str], None] | None = None) -> str:
        """Make it; the hint becomes part of its name."""


class RunServers:
    """The two servers of this test run, started when they are first asked for."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._addresses: Addresses | None = None

    def addresses(self) -> Addresses:
        """Return where the servers are, starting them if need be; call it from the main thread."""
        if self._addresses is None:
            folder = Path(tempfile.mkdtemp(prefix="adplatform-tests-"))
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
            valkey = self._stack.enter_context(ValkeyServer(folder / "valkey", fsync=False))
            postgres = self._stack.enter_context(PostgresServer(folder / "postgres", fsync=False))
            self._addresses = {"postgres": postgres.url(), "redis": valkey.url()}
        return self._addresses

    def stop(self) -> None:
        """Stop what was started."""
        self._stack.close()


_servers = pytest.StashKey[RunServers]()


def pytest_configure(config: pytest.Config) -> None:
    """Prepare, but start nothing yet: a run of pure tests needs no server."""
    forget_grpc_at_fork()
    told = getattr(config, "workerinput", {})
    # The last part is the controller's own; workers are called gw0, gw1, …
    number = int(told["workerid"].removeprefix("gw")) if told else _PARTS - 1
    os.environ[ports.VARIABLE] = ports.part(number, of=_PARTS)
    config.stash[_servers] = RunServers()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker that is about to start where the servers are."""
    node.workerinput[_KEY] = node.config.stash[_servers].addresses()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers at the end of the run."""
    config.stash[_servers].stop()


@pytest.fixture(scope="session")
def server_addresses(request: pytest.FixtureRequest) -> Addresses:
    """Where this run's PostgreSQL and Valkey are."""
    told = getattr(request.config, "workerinput", {})
    addresses: Addresses = told[_KEY] if _KEY in told else request.config.stash[_servers].addresses()
    return addresses


@pytest.fixture(scope="session")
def postgres_server_url(server_addresses: Addresses) -> str:
    """The superuser's URL of this run's PostgreSQL, database `postgres`."""
    return server_addresses["postgres"]


class Databases:
    """Databases that are made fast and dropped at the end."""

    def __init__(self, server_url: str, worker: str) -> None:
        self._server_url = server_url
        self._worker = worker
        self._templates: dict[Callable[[str], None], str] = {}
        self._number = 0

    def make(self, name_hint: str, prepare: Callable[[str], None] | None) -> str:
        """Make a database and return its URL."""
        if prepare is None:
            return self._create(name_hint, "template0")
        if prepare not in self._templates:
            url = self._create(name_hint, "template0")
            prepare(url)
            self._templates[prepare] = urlsplit(url).path[1:]
        return self._create(name_hint, self._templates[prepare])

    def drop(self, url: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self._execute('DROP DATABASE IF EXISTS "{}" WITH (FORCE)', urlsplit(url).path[1:])

    def _create(self, name_hint: str, template: str) -> str:
        self._number += 1
        name = f"{name_hint[:40]}_{self._worker}_{self._number}"
        # Copying the files is three times as fast as logging them, since nothing is forced to the disk here.
        self._execute('CREATE DATABASE "{}" TEMPLATE "{}" STRATEGY file_copy', name, template)
        return urlunsplit(urlsplit(self._server_url)._replace(path="/" + name))

    def _execute(self, statement: str, *names: str) -> None:
        import psycopg

        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(statement.format(*(name.replace('"', "") for name in names)).encode())


@pytest.fixture(scope="session")
def databases(postgres_server_url: str, worker_name: str) -> Databases:
    """This worker's databases."""
    return Databases(postgres_server_url, worker_name)


@pytest.fixture(scope="session")
def worker_name(request: pytest.FixtureRequest) -> str:
    """The name of this test process: gw0, gw1, … or main."""
    return str(getattr(request.config, "workerinput", {}).get("workerid", "main"))


@pytest.fixture
def fresh_database(databases: Databases) -> Iterator[FreshDatabase]:
    """Return a function that makes a database for this test; it is dropped after it."""
    made: list[str] = []

    def make(name_hint: str = "test", prepare: Callable[[str], None] | None = None) -> str:
        made.append(databases.make(name_hint, prepare))
        return made[-1]

    yield make
    for url in made:
        databases.drop(url)


@pytest.fixture(scope="session")
def fresh_session_database(databases: Databases) -> Iterator[FreshDatabase]:
    """Return a function that makes a database that stays for the whole run of this worker."""
    made: list[str] = []

    def make(name_hint: str = "test", prepare: Callable[[str], None] | None = None) -> str:
        made.append(databases.make(name_hint, prepare))
        return made[-1]

    yield make
    for url in made:
        databases.drop(url)


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A folder that is a small filesystem, in tests that are decorated with `adtesting.small_disk.on_small_disk`."""
    return given(tmp_path)


@pytest.fixture
def redis_url(server_addresses: Addresses, worker_name: str) -> str:
    """An empty logical database of this run's Valkey that is this worker's alone; emptied before every test."""
    import redis

    # Number 0 is left to the process without workers.
    number = 1 + int(worker_name[2:]) % (DATABASES - 1) if worker_name.startswith("gw") else 0
    url = server_addresses["redis"].rsplit("/", 1)[0] + f"/{number}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url
