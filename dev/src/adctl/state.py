"""The local platform's state folder, `.adplatform`, and the files in it."""

import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from adctl import ports
from adctl.errors import UserError
from adsandbox.settings import parties

SERVICES = (
    "auth-service",
    "campaign-service",
    "payment-service",
    "publisher-service",
    "analytics-service",
    "pixel-service",
)
# Services with a database, and the name of the database and of the role that owns it.
DATABASES = {
    "auth-service": "auth",
    "campaign-service": "campaign",
    "payment-service": "payment",
    "publisher-service": "publisher",
    "pixel-service": "pixel",
}
# The name of each outside party's sandbox.
SANDBOXES: Mapping[str, str] = {party: f"{party.replace('_', '-')}-sandbox" for party in parties()}
PORTS = (
    "gateway-admin",
    "postgres",
    "valkey",
    *SERVICES,
    *(f"{service}-metrics" for service in SERVICES),
    "pixel-service-http",
    *SANDBOXES.values(),
    "mail-sandbox-smtp",
)
ADMIN_EMAIL = "admin@adplatform.test"
MAIL_FROM = "noreply@adplatform.test"
DEFAULT_GATEWAY_PORT = 8080

_SECRETS: Mapping[str, Callable[[], str]] = {
    "adminPassword": lambda: secrets.token_urlsafe(15),
    "postgres": lambda: secrets.token_urlsafe(24),
    **{f"postgres.{role}": lambda: secrets.token_urlsafe(24) for role in DATABASES.values()},
    "valkey": lambda: secrets.token_hex(24),
    "stripeApiKey": lambda: f"sk_test_{secrets.token_hex(24)}",
    "stripeWebhookSecret": lambda: f"whsec_{secrets.token_hex(32)}",
    "trafficEngineToken": lambda: secrets.token_hex(32),
    "wiseApiToken": lambda: secrets.token_hex(32),
    "wiseProfileId": lambda: str(10_000_000 + secrets.randbelow(90_000_000)),
    "clickSigningKey": lambda: secrets.token_urlsafe(48),
}


class StateError(UserError):
    """The state folder cannot be used."""


@dataclass(frozen=True)
class Paths:
    """The paths in the state folder."""

    home: Path

    @property
    def dev_json(self) -> Path:
        """The platform's addresses, ports and secrets; scripts may read it."""
        return self.home / "dev.json"

    @property
    def keys(self) -> Path:
        """Private keys of the identities and the public keys of all."""
        return self.home / "keys"

    @property
    def secrets(self) -> Path:
        """Passwords and tokens. Not in dev.json: its loss must not lock anyone out of the data."""
        return self.keys / "secrets.json"

    @property
    def data(self) -> Path:
        """The servers' data."""
        return self.home / "data"

    @property
    def run(self) -> Path:
        """Locks and files of the running platform."""
        return self.home / "run"

    @property
    def logs(self) -> Path:
        """A log file for each process."""
        return self.home / "logs"

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self.logs / f"{name}.log"

    def make(self) -> Self:
        """Create the folders, readable by their owner only and ignored by git; delete files that killed runs left."""
        for folder in (self.home, self.keys, self.data, self.run, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o711)  # PostgreSQL as `nobody` must be able to reach its data
        for folder in (self.keys, self.run, self.logs):
            folder.chmod(0o700)
        self._delete_leftovers()
        ignore = self.home / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        return self

    def _delete_leftovers(self) -> None:
        """Delete the `.NAME.PID` files of `write_privately` and of disk probes whose process is not alive."""
        for folder in (self.home, self.keys, self.keys / "tokens", self.data, self.run, self.logs):
            for file in folder.glob(".*.[0-9]*"):
                pid = file.name.rpartition(".")[2]
                if pid.isdigit() and not Path("/proc", pid).exists():
                    file.unlink(missing_ok=True)


def find_home(start: Path, environment: Mapping[str, str]) -> Path:
    """Return the state folder: ADPLATFORM_HOME, or `.adplatform` in the workspace that contains the start folder."""
    if chosen := environment.get("ADPLATFORM_HOME"):
        return Path(chosen).expanduser().absolute()
    return (find_workspace(start) or start.absolute()) / ".adplatform"


def find_workspace(start: Path) -> Path | None:
    """Return the root of the source tree that contains the start folder, if there is one."""
    for folder in (start.absolute(), *start.absolute().parents):
        # A service's folder has a Makefile and a skaffold.yaml too, but no contract.
        if (folder / "protos").is_dir() and ((folder / "skaffold.yaml").exists() or (folder / "Makefile").exists()):
            return folder
    return None


@dataclass(frozen=True)
class State:
    """The content of `dev.json`."""

    paths: Paths
    gateway_port: int
    ports: Mapping[str, int] = field(repr=False)
    secrets: Mapping[str, str] = field(repr=False)
    admin_email: str = ADMIN_EMAIL

    @property
    def gateway_url(self) -> str:
        """The gateway's public URL."""
        return f"http://localhost:{self.gateway_port}"

    @property
    def admin_password(self) -> str:
        """The platform admin's password."""
        return self.secrets["adminPassword"]

    @property
    def stripe_webhook_secret(self) -> str:
        """The secret that signs the Stripe sandbox's webhooks."""
        return self.secrets["stripeWebhookSecret"]

    def database_url(self, service: str) -> str:
        """Return the connection URL of a service's database."""
        from adctl.embedded import postgres

        role = DATABASES[service]
        return postgres.connection_url(self.ports["postgres"], role, self.secrets[f"postgres.{role}"], role)

    def postgres_url(self) -> str:
        """Return the superuser's connection URL."""
        from adctl.embedded import postgres

        return postgres.connection_url(self.ports["postgres"], postgres.SUPERUSER, self.secrets["postgres"], "postgres")

    def redis_url(self) -> str:
        """Return the connection URL of Valkey."""
        from adctl.embedded import valkey

        return valkey.connection_url(self.ports["valkey"], self.secrets["valkey"])

    def url(self, port_name: str) -> str:
        """Return the HTTP URL of a named port, such as `stripe-sandbox`."""
        return f"http://{ports.LOOPBACK}:{self.ports[port_name]}"

    def smtp_url(self) -> str:
        """Return the URL of the mail sandbox's SMTP server."""
        return f"smtp://{ports.LOOPBACK}:{self.ports['mail-sandbox-smtp']}"

    def document(self) -> dict[str, Any]:
        """Return the content of `dev.json`."""
        return {
            "gatewayUrl": self.gateway_url,
            "admin": {"email": self.admin_email, "password": self.admin_password},
            **self._sandboxes(),
            "databases": {service: self.database_url(service) for service in DATABASES},
            "redisUrl": self.redis_url(),
            "ports": {"gateway": self.gateway_port, **self.ports},
        }

    def _sandboxes(self) -> dict[str, dict[str, str]]:
        more = {"stripe": {"webhookSecret": self.stripe_webhook_secret}, "mail": {"smtpUrl": self.smtp_url()}}
        return {_camel_case(party): {"url": self.url(name), **more.get(party, {})} for party, name in SANDBOXES.items()}

    def save(self) -> None:
        """Write `dev.json` and the secrets, each atomically and readable by its owner only."""
        write_privately(self.paths.secrets, json.dumps(dict(self.secrets), indent=2) + "\n")
        write_privately(self.paths.dev_json, json.dumps(self.document(), indent=2) + "\n")


def load(home: Path) -> State:
    """Return the state of the platform that was last started here."""
    paths = Paths(home)
    document, known = _read(paths.dev_json), _read(paths.secrets)
    if document is None or known is None:
        raise StateError(f"no platform was started here yet ({home} has no dev.json); run `adctl up`")
    try:
        chosen = {name: int(document["ports"][name]) for name in PORTS}
        return State(paths, int(document["ports"]["gateway"]), chosen, {name: known[name] for name in _SECRETS})
    except (KeyError, TypeError, ValueError):
        raise StateError(f"{paths.dev_json} is from another version; run `adctl up` to write it again") from None


def prepare(home: Path, gateway_port: int) -> State:
    """Return the state to start with: existing secrets, and the ports of the last run where they are free."""
    paths = Paths(home).make()
    old_ports, old_secrets = (_read(paths.dev_json) or {}).get("ports", {}), _read(paths.secrets) or {}
    taken = {gateway_port}
    chosen = {name: ports.choose(old_ports.get(name), taken) for name in PORTS}
    known = {name: old_secrets.get(name) or make() for name, make in _SECRETS.items()}
    state = State(paths, gateway_port, chosen, known)
    state.save()
    return state


def write_privately(path: Path, text: str) -> None:
    """Replace a file atomically by one that only its owner can read; do nothing if it has this content already."""
    with suppress(OSError, ValueError):
        if path.stat().st_mode & 0o777 == 0o600 and path.read_text() == text:
            return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        temporary.unlink()
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StateError(
            f"{path} cannot be read ({error}); repair it, or `adctl reset` to start without data"
        ) from None
    if not isinstance(document, dict):
        raise StateError(f"{path} is not a JSON object; repair it, or start without data: `adctl reset`")
    return document
