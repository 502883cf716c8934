"""The commands of a service: `python -m NAME_service [serve | migrate | …]`."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol, TypeVar

from adlib.config import ConfigurationError, Environment
from adlib.db import migrate, require_compatible
from adlib.errors import AppError, Unavailable
from adlib.rpc import ServiceProcess, serve
from adlib.service.settings import CommonSettings
from adlib.telemetry import configure_logging, logger

_DATABASE_RETRY_S = 0.5

_log = logger(__name__)


class Config(Protocol):
    """A service's configuration."""

    @property
    def common(self) -> CommonSettings:
        """The settings that every service has."""
        ...


C = TypeVar("C", bound=Config)


def main(
    *,
    read: Callable[[Environment], C],
    build: Callable[[C], ServiceProcess],
    migrations: Sequence[tuple[str, str]] = (),
    after_migrations: Callable[[str], None] | None = None,
    commands: dict[str, Callable[[Environment], None]] | None = None,
) -> None:
    """Runs the commands of the command line in order, by default `serve`.

    `serve` answers calls until SIGTERM, `migrate` applies migrations, and `commands` are the service's own. All refuse
    to run on a database that needs a later release.
    """
    environment = Environment(os.environ)

    def run_serve() -> None:
        config = read(environment)
        if migrations:
            configure_logging(config.common.rpc.service)
            _wait_until_compatible(environment.text("DATABASE_URL"), migrations)
        serve(config.common.rpc, lambda: build(config))

    def run_migrate() -> None:
        if migrations:
            migrate(environment.text("DATABASE_URL"), *migrations)
        if after_migrations:
            after_migrations(environment.text("DATABASE_URL"))

    def run_own(command: Callable[[Environment], None]) -> None:
        if migrations:
            # pixel-service collects without its database, and an unavailable database cannot be damaged.
            with suppress(Unavailable):
                require_compatible(environment.text("DATABASE_URL"), *migrations)
        command(environment)

    available: dict[str, Callable[[], None]] = {"migrate": run_migrate, "serve": run_serve}
    available |= {name: partial(run_own, command) for name, command in (commands or {}).items()}
    names = sys.argv[1:] or ["serve"]
    if unknown := set(names) - set(available):
        sys.exit(f"unknown command {', '.join(sorted(unknown))}; use one of {', '.join(sorted(available))}")
    try:
        for name in names:
            available[name]()
    except ConfigurationError as error:
        sys.exit(f"configuration: {error}")
    except AppError as error:
        sys.exit(f"{' '.join(names)}: {error.message}")


def _wait_until_compatible(url: str, migrations: Sequence[tuple[str, str]]) -> None:
    """Waits until the database answers and is compatible with this release; ReleaseTooOld.

    The service does not start before, because its background work would write as soon as the database answers.
    """
    while True:
        try:
            return require_compatible(url, *migrations)
        except Unavailable as error:
            _log.warning("waiting_for_database", error=error.message)
            time.sleep(_DATABASE_RETRY_S)
