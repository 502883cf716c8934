"""Commands of the services and of adctl on a database that a later release has migrated."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

import psycopg
import pytest

from adctl.embedded.postgres import PostgresServer
from adctl.keys import Keys
from adctl.platform.chain import make_xpub
from adctl.platform.databases import make_database
from adctl.platform.environment import service_environment
from adctl.ports import free_port
from adctl.state import DATABASES, State, prepare
from adctl.supervision.probes import grpc_serving
from adlib.db import migrate
from adlib.db.releases import record
from adlib.release import RELEASE
from adtesting import eventually
from adtesting.pytest_servers import FreshDatabase

# Each command once. That every service passes its migrations to these commands, tests/test_repository.py shows.
COMMANDS = [
    ("publisher-service", "serve"),
    ("publisher-service", "migrate"),
    ("auth-service", "create-admin"),
    ("pixel-service", "tracking"),
]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> State:
    made = prepare(tmp_path_factory.mktemp("releases") / "home", free_port())
    keys = Keys(made.paths.keys)
    keys.make()
    make_xpub(keys.chain_seed, keys.chain_xpub)
    return made


def migrate_as_later_release(url: str, runs_with: int) -> None:
    """Records one more migration, as a later release does."""
    with psycopg.connect(url, autocommit=True) as connection:
        record(connection, {"later-0001-split": runs_with})
        connection.execute(
            "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc) VALUES (%s, %s, now())",
            ["0" * 64, "later-0001-split"],
        )


def migrated(service: str, url: str) -> None:
    migrate(url, *import_module(f"{service.replace('-', '_')}.__main__").MIGRATIONS)


# One function per service, because the cache of databases is keyed by the function.
PREPARED = {service: partial(migrated, service) for service in DATABASES}


def database(service: str, fresh_database: FreshDatabase, runs_with: int) -> str:
    url = fresh_database(f"later_{DATABASES[service]}", PREPARED[service])
    migrate_as_later_release(url, runs_with)
    return url


@contextmanager
def started(state: State, service: str, command: str, url: str, redis_url: str) -> Iterator["subprocess.Popen[str]"]:
    environment = service_environment(state, Keys(state.paths.keys), service)
    program = [sys.executable, "-m", service.replace("-", "_"), command]
    with subprocess.Popen(
        program,
        env={"PATH": os.environ["PATH"], **environment, "DATABASE_URL": url, "REDIS_URL": redis_url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("service", "command"), COMMANDS)
def test_older_release_does_not_start(
    state: State, service: str, command: str, fresh_database: FreshDatabase, redis_url: str
) -> None:
    url = database(service, fresh_database, RELEASE + 1)
    with started(state, service, command, url, redis_url) as process:
        _, output = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"this is release {RELEASE}" in output
    assert f"later-0001-split, which needs release {RELEASE + 1} or later" in output
    assert not grpc_serving(state.ports[service])


def test_allowed_release_serves_and_logs_the_unknown_migration(
    state: State, fresh_database: FreshDatabase, redis_url: str
) -> None:
    url = database("publisher-service", fresh_database, RELEASE)
    with started(state, "publisher-service", "serve", url, redis_url) as process:
        assert eventually(lambda: grpc_serving(state.ports["publisher-service"]), within_s=30)
        process.terminate()
        _, output = process.communicate(timeout=30)
    assert [line for line in output.splitlines() if "later-0001-split" in line and "database_is_newer" in line]


def test_service_waits_for_its_database_before_it_checks_the_release(state: State, redis_url: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="releases-"))
    server = PostgresServer(folder / "postgres", fsync=False)
    with server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE publisher")
        url = server.url("publisher")
        migrated("publisher-service", url)
        migrate_as_later_release(url, RELEASE + 1)
        server.stop()
        with started(state, "publisher-service", "serve", url, redis_url) as process:
            assert process.stderr is not None
            assert "waiting_for_database" in process.stderr.readline()
            assert process.poll() is None
            server.start()
            output = process.stderr.read()
            assert process.wait(30) == 1
    assert "later-0001-split" in output
    server.cluster.delete()
    shutil.rmtree(folder)


def test_adctl_up_refuses_data_of_a_later_release() -> None:
    home = Path(tempfile.mkdtemp(prefix="adplatform-later-"))
    made = prepare(home, free_port())
    data = made.paths.data / "postgres"
    with PostgresServer(data, port=made.ports["postgres"], password=made.secrets["postgres"], fsync=False) as old:
        make_database(made, "payment-service")
        migrated("payment-service", made.database_url("payment-service"))
        migrate_as_later_release(made.database_url("payment-service"), RELEASE + 1)
    done = subprocess.run(
        [sys.executable, "-m", "adctl", "up", "--port", str(made.gateway_port)],
        env={**os.environ, "ADPLATFORM_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert f"payment-service database: the data in {home} is not for this platform" in done.stderr
    assert f"later-0001-split, which needs release {RELEASE + 1} or later" in done.stderr
    assert "payment-service ended" not in done.stdout + done.stderr
    old.cluster.delete()
    shutil.rmtree(home)
