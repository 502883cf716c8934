"""The settings that every service has."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from adlib import identity
from adlib.config import Environment
from adlib.identity import KeyLookup, ServiceIdentity, SignedIdentity, Verifier
from adlib.rpc import Settings


@dataclass(frozen=True, slots=True)
class CommonSettings:
    """The settings that every service has."""

    rpc: Settings
    redis_url: str
    auth_targets: str
    identity: ServiceIdentity
    service_keys: str
    google_accounts: Mapping[str, str] = field(default_factory=dict)

    def verifier(self, user_keys: KeyLookup) -> Verifier:
        """A verifier of the tokens of services, and of people with these keys."""
        others = None
        if self.google_accounts:
            # Imported on demand, because Google's libraries take 0.1 s to load.
            from adlib.google_identity import GoogleTokenVerifier

            others = GoogleTokenVerifier(self.google_accounts)
        return Verifier(
            self.rpc.service,
            user_keys=user_keys,
            service_keys=identity.parse_jwks(self.service_keys),
            others=others,
        )


def read_common(environment: Environment, name: str) -> CommonSettings:
    """Reads the common settings of the service with this name; ConfigurationError."""
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
