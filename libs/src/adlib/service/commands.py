"""The commands of a service's module: `python -m NAME_service [serve | migrate | …]`."""

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
    """Runs the commands of the command line in order; without any, `serve`.

    `serve` answers calls until SIGTERM, `migrate` updates the tables; `commands` are the service's own. None of them
    works on a database of a later release that needs later code.
    """
    environment = Environment(os.environ)

    def run_serve() -> None:
        config = read(environment)
        if migrations:
            configure_logging(config.common.rpc.service)
            _wait_until_allowed(environment.text("DATABASE_URL"), migrations)
        serve(config.common.rpc, lambda: build(config))

    def run_migrate() -> None:
        if migrations:
            migrate(environment.text("DATABASE_URL"), *migrations)
        if after_migrations:
            after_migrations(environment.text("DATABASE_URL"))

    def run_own(command: Callable[[Environment], None]) -> None:
        if migrations:
            # Without the database there is nothing to damage, and tracking works without it.
            with suppress(Unavailable):
                require_compatible(environment.text("DATABASE_URL"), *migrations)
        command(environment)

    known: dict[str, Callable[[], None]] = {"migrate": run_migrate, "serve": run_serve}
    known |= {name: partial(run_own, command) for name, command in (commands or {}).items()}
    given = sys.argv[1:] or ["serve"]
    if unknown := set(given) - set(known):
        sys.exit(f"unknown command {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    try:
        for name in given:
            known[name]()
    except ConfigurationError as error:
        sys.exit(f"configuration: {error}")
    except AppError as error:
        sys.exit(f"{' '.join(given)}: {error.message}")


def _wait_until_allowed(url: str, migrations: Sequence[tuple[str, str]]) -> None:
    """Returns once the database allows this release; ReleaseTooOld.

    Nothing is served before: background work would write as soon as the database answers.
    """
    while True:
        try:
            return require_compatible(url, *migrations)
        except Unavailable as error:
            _log.warning("waits_for_database", error=error.message)
            time.sleep(_DATABASE_RETRY_S)
