"""What every service's composition root does the same way: its common settings, its identity, its commands."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from uuid import UUID

from adplatform.auth.v1 import auth_pb2, auth_pb2_grpc
from jwt import PyJWK

from adlib import identity, permissions
from adlib.access import NO_ACCESS, Access, CachedAccess, SessionEnded, api_key_of
from adlib.config import ConfigurationError, Environment
from adlib.db import migrate, require_at
from adlib.errors import AppError, Unavailable
from adlib.identity import (
    NO_SESSION,
    ApiKey,
    Keys,
    Person,
    RefreshedKeys,
    ServiceIdentity,
    SignedIdentity,
    Verifier,
)
from adlib.redis_clients import connect_redis, connect_redis_for_calls
from adlib.rpc import Remote, ServiceProcess, Settings, serve
from adlib.telemetry import configure_logging, logger

_DATABASE_EVERY_S = 0.5

_log = logger(__name__)

__all__ = [
    "CommonSettings",
    "RemoteAccess",
    "authorization",
    "connect_redis",
    "connect_redis_for_calls",
    "main",
    "read_common",
]

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class CommonSettings:
    """Settings that every service has."""

    rpc: Settings
    redis_url: str
    auth_targets: str
    identity: ServiceIdentity
    service_keys: str
    google_accounts: Mapping[str, str] = field(default_factory=dict)

    def verifier(self, user_keys: Keys) -> Verifier:
        """Checks the tokens of people, by these keys, and of services."""
        others = None
        if self.google_accounts:
            # Imported only where it is needed: Google's libraries take a tenth of a second.
            from adlib.google_identity import GoogleTokens

            others = GoogleTokens(self.google_accounts)
        return Verifier(
            self.rpc.service,
            user_keys=user_keys,
            service_keys=identity.parse_jwks(self.service_keys),
            others=others,
        )


def read_common(environment: Environment, name: str) -> CommonSettings:
    """The settings that every service has, for the service of this name."""
    accounts = environment.mapping("GOOGLE_SERVICE_ACCOUNTS")
    return CommonSettings(
        rpc=Settings(
            service=name,
            ports=environment.integers("GRPC_PORTS"),
            host=environment.text("BIND_HOST", "127.0.0.1"),
            metrics_port=environment.integer("METRICS_PORT", 0),
        ),
        redis_url=environment.text("REDIS_URL"),
        auth_targets=environment.text("AUTH_TARGETS"),
        identity=_google_identity(name) if accounts else _signed_identity(name, environment),
        service_keys='{"keys": []}' if accounts else environment.file("SERVICE_KEYS_FILE"),
        google_accounts=accounts,
    )


def _signed_identity(name: str, environment: Environment) -> ServiceIdentity:
    return SignedIdentity(name, identity.private_key(environment.file("SERVICE_KEY_FILE")))


def _google_identity(name: str) -> ServiceIdentity:
    from adlib.google_identity import GoogleIdentity

    return GoogleIdentity(name)


class RemoteAccess:
    """Asks auth-service."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._stub = auth_pb2_grpc.AccessServiceStub(remote.channel)

    def access(self, person: Person, organization_id: UUID | None) -> Access:
        """The person's standing; TOKEN_INVALID where the session has ended."""
        request = auth_pb2.GetAccessRequest(
            user_id=str(person.user_id),
            session_id="" if person.session_id == NO_SESSION else str(person.session_id),
            organization_id=str(organization_id or ""),
        )
        answer = self._remote.call(self._stub.GetAccess, request)
        if answer.session_ended:
            raise SessionEnded
        if not answer.member:
            return NO_ACCESS
        held = permissions.mask(answer.permissions)
        return Access(True, answer.organization_kind, held, email_verified=not answer.email_unverified)

    def api_key(self, hash: bytes) -> ApiKey | None:
        """The API key whose text has this SHA-256; None where there is none, or none that works any more."""
        answer = self._remote.call(self._stub.FindApiKey, auth_pb2.FindApiKeyRequest(hash=hash))
        return api_key_of(answer.api_key) if answer.HasField("api_key") else None


def authorization(common: CommonSettings) -> tuple[Verifier, CachedAccess, Remote]:
    """How a service other than auth-service knows who calls and what they may do; the caller closes the last two."""
    remote = Remote("auth-service", common.auth_targets, common.identity)
    keys = auth_pb2_grpc.AuthServiceStub(remote.channel)

    def fetch() -> Mapping[str, PyJWK]:
        return identity.parse_jwks(remote.call(keys.GetJwks, auth_pb2.GetJwksRequest()).data.decode())

    verifier = common.verifier(RefreshedKeys(fetch))
    return verifier, CachedAccess(RemoteAccess(remote), connect_redis_for_calls(common.redis_url)), remote


def main(
    *,
    read: Callable[[Environment], C],
    settings: Callable[[C], Settings],
    compose: Callable[[C], ServiceProcess],
    migrations: Sequence[tuple[str, str]] = (),
    after_migrations: Callable[[str], None] | None = None,
    commands: dict[str, Callable[[Environment], None]] | None = None,
) -> None:
    """Runs the commands that were given, one after the other; without any it serves.

    `serve` answers calls until SIGTERM, `migrate` updates the tables; `commands` are the service's own. None of them
    works on a database of a later release that needs later code.
    """
    environment = Environment(os.environ)

    def serving() -> None:
        config = read(environment)
        if migrations:
            configure_logging(settings(config).service)
            _wait_for_permission(environment.text("DATABASE_URL"), migrations)
        serve(settings(config), lambda: compose(config))

    def own(command: Callable[[Environment], None]) -> None:
        if migrations:
            # Without the database there is nothing to damage, and tracking works on without it.
            with suppress(Unavailable):
                require_at(environment.text("DATABASE_URL"), *migrations)
        command(environment)

    def migrating() -> None:
        if migrations:
            migrate(environment.text("DATABASE_URL"), *migrations)
        if after_migrations:
            after_migrations(environment.text("DATABASE_URL"))

    known: dict[str, Callable[[], None]] = {"migrate": migrating, "serve": serving}
    known |= {name: partial(own, command) for name, command in (commands or {}).items()}
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


def _wait_for_permission(url: str, migrations: Sequence[tuple[str, str]]) -> None:
    """Returns once the database allows this release; ReleaseTooOld.

    Nothing is served before: background work would write as soon as the database is back.
    """
    while True:
        try:
            return require_at(url, *migrations)
        except Unavailable as error:
            _log.warning("waits_for_database", error=error.message)
            time.sleep(_DATABASE_EVERY_S)
