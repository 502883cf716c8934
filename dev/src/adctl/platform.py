"""Which processes the local platform is made of, what each is told and what it needs."""

import json
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import LiteralString

from adctl import sandbox_chain
from adctl.children import ChildError
from adctl.embedded import envoy, postgres, valkey
from adctl.keys import SCHEDULER, Keys
from adctl.ports import LOOPBACK
from adctl.process import Process
from adctl.state import DATABASES, MAIL_FROM, SANDBOXES, SERVICES, State, write_privately
from adctl.vitals import probes_of
from adsandbox.networks import BILLING_CURRENCIES

# Which other services a service calls.
_CALLS = {
    "campaign-service": ("auth-service", "payment-service", "publisher-service"),
    "payment-service": ("auth-service",),
    "publisher-service": ("auth-service", "payment-service"),
    "analytics-service": ("auth-service", "campaign-service"),
    "pixel-service": ("auth-service", "campaign-service"),
    "auth-service": ("auth-service",),
}
# What a service does when it is started: one process for all of it, since starting Python takes most of the time.
_COMMANDS = dict.fromkeys(SERVICES, ("migrate", "serve")) | {
    "auth-service": ("migrate", "create-admin", "serve"),
}
# What a child sees of our own environment: no addresses, secrets or proxies that were meant for something else.
_INHERITED = ("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_INHERITED_PREFIXES = ("LC_", "PYTHON", "COVERAGE_", "OTEL_", "SSL_CERT_")


def inherited(environment: Mapping[str, str], state: State) -> dict[str, str]:
    """Return the part of our environment that every child gets, and a mark by which it is known as ours."""
    kept = {k: v for k, v in environment.items() if k in _INHERITED or k.startswith(_INHERITED_PREFIXES)}
    return kept | {"ADPLATFORM_HOME": str(state.paths.home)}


def processes(state: State) -> list[Process]:
    """Return all processes of the platform; makes the keys that are missing."""
    keys = Keys(state.paths.keys)
    keys.make()
    sandbox_chain.make_xpub(keys.chain_seed, keys.chain_xpub)
    for folder in ("warehouse", "sandbox"):
        (state.paths.data / folder).mkdir(mode=0o700, exist_ok=True)
    services = [process for service in SERVICES for process in _service(state, keys, service)]
    return [*_stores(state), *services, _sandboxes(state, keys), *_front(state, keys)]


def _stores(state: State) -> list[Process]:
    cluster = postgres.Cluster(state.paths.data / "postgres")
    postgres_port, valkey_port = state.ports["postgres"], state.ports["valkey"]
    password, ready = state.secrets["valkey"], probes_of(state)
    return [
        Process(
            name="postgres",
            command=tuple(cluster.command(postgres_port)),
            prepare=lambda: cluster.initialise(state.secrets["postgres"]),
            ready=lambda pid: cluster.is_ready(pid) and ready["postgres"](pid),
            port=postgres_port,
            stop_signal=postgres.STOP_SIGNAL,
            identity=cluster.identity,
            folder=Path("/"),
        ),
        Process(
            name="valkey",
            command=tuple(valkey.write_configuration(state.paths.data / "valkey", valkey_port, password)),
            ready=ready["valkey"],
            port=valkey_port,
        ),
    ]


def make_database(state: State, service: str) -> None:
    """Make a service's database and the role that owns it and nothing else; repeat it as often as you like.

    ChildError where the data is of a later release: its service would refuse to start, again and again.
    """
    import psycopg
    from psycopg import sql

    from adlib.db import require_compatible
    from adlib.errors import AppError

    role = DATABASES[service]
    name, password = sql.Identifier(role), sql.Literal(state.secrets[f"postgres.{role}"])
    with psycopg.connect(state.postgres_url(), autocommit=True, connect_timeout=10) as connection:

        def exists(query: LiteralString) -> bool:
            return connection.execute(query, [role]).fetchone() is not None

        verb = sql.SQL("ALTER" if exists("SELECT FROM pg_roles WHERE rolname = %s") else "CREATE")
        connection.execute(sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, name, password))
        if not exists("SELECT FROM pg_database WHERE datname = %s"):
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, name))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    try:
        require_compatible(state.database_url(service))
    except AppError as error:
        raise ChildError(f"the data in {state.paths.home} is not for this platform: {error.message}") from None


def _service(state: State, keys: Keys, service: str) -> list[Process]:
    module = service.replace("-", "_")
    environment = service_environment(state, keys, service)
    database = f"{service} database"
    step = Process(name=database, needs=("postgres",), once=True, prepare=lambda: make_database(state, service))
    return [
        *([step] if service in DATABASES else []),
        Process(
            name=service,
            command=(sys.executable, "-m", module, *_COMMANDS[service]),
            prepare=lambda: _require(f"{module}.__main__"),
            needs=(*([database] if service in DATABASES else []), "valkey"),
            environment=environment,
            ready=probes_of(state)[service],
            port=state.ports[service],
        ),
    ]


def service_environment(state: State, keys: Keys, service: str) -> dict[str, str]:
    """Return what a service is told."""
    environment = {
        "GRPC_PORTS": str(state.ports[service]),
        "BIND_HOST": LOOPBACK,
        "METRICS_PORT": str(state.ports[f"{service}-metrics"]),
        "REDIS_URL": state.redis_url(),
        "SERVICE_KEY_FILE": str(keys.of(service)),
        "SERVICE_KEYS_FILE": str(keys.jwks),
    }
    for called in _CALLS[service]:
        name = called.removesuffix("-service").upper()
        environment[f"{name}_TARGETS"] = f"{LOOPBACK}:{state.ports[called]}"
    if service in DATABASES:
        environment["DATABASE_URL"] = state.database_url(service)
    return environment | _own_environment(state, keys).get(service, {})


def _own_environment(state: State, keys: Keys) -> dict[str, dict[str, str]]:
    return {
        "auth-service": {
            "TOKEN_KEYS_DIR": str(keys.tokens.folder),
            "SMTP_URL": state.smtp_url(),
            "MAIL_FROM": MAIL_FROM,
            "APP_URL": state.gateway_url,
            "ADMIN_EMAIL": state.admin_email,
            "ADMIN_PASSWORD": state.admin_password,
        },
        "campaign-service": {
            "TRAFFIC_ENGINE_URL": state.url("traffic-engine-sandbox"),
            "TRAFFIC_ENGINE_TOKEN": state.secrets["trafficEngineToken"],
        },
        "payment-service": {
            "STRIPE_API_KEY": state.secrets["stripeApiKey"],
            "STRIPE_WEBHOOK_SECRET": state.stripe_webhook_secret,
            "STRIPE_API_BASE": state.url("stripe-sandbox"),
            "WISE_API_URL": state.url("wise-sandbox"),
            "WISE_API_TOKEN": state.secrets["wiseApiToken"],
            "WISE_PROFILE_ID": state.secrets["wiseProfileId"],
            "WISE_WEBHOOK_KEY_FILE": str(keys.wise_public),
            "RECEIPT_ISSUER": "Example Ad Platform Ltd|1 Example Street|EX1 0AD Example City|Tax number EX000000000",
            "PAYMENT_PROVIDERS": "STRIPE,CRYPTO,WISE",
            "WALLET_CURRENCIES": ",".join(sorted(set(BILLING_CURRENCIES.values()))),
            "CRYPTO_XPUB_FILE": str(keys.chain_xpub),
            "CRYPTO_CHAINS": sandbox_chain.chains(state),
        },
        "analytics-service": {"WAREHOUSE_PATH": str(state.paths.data / "warehouse" / "warehouse.duckdb")},
        "pixel-service": {
            "HTTP_PORT": str(state.ports["pixel-service-http"]),
            "PUBLIC_URL": state.gateway_url,
            "CLICK_SIGNING_KEY": state.secrets["clickSigningKey"],
        },
    }


def _sandboxes(state: State, keys: Keys) -> Process:
    return Process(
        name="sandboxes",
        command=(sys.executable, "-m", "adsandbox"),
        prepare=lambda: _require("adsandbox.__main__"),
        environment={
            "STRIPE_SANDBOX_PORT": str(state.ports["stripe-sandbox"]),
            "TRAFFIC_ENGINE_SANDBOX_PORT": str(state.ports["traffic-engine-sandbox"]),
            "WISE_SANDBOX_PORT": str(state.ports["wise-sandbox"]),
            "MAIL_SANDBOX_PORT": str(state.ports["mail-sandbox"]),
            "CHAIN_SANDBOX_PORT": str(state.ports["chain-sandbox"]),
            "MAIL_SANDBOX_SMTP_PORT": str(state.ports["mail-sandbox-smtp"]),
            "SANDBOX_STATE_DIR": str(state.paths.data / "sandbox"),
            "GATEWAY_URL": state.gateway_url,
            "STRIPE_API_KEY": state.secrets["stripeApiKey"],
            "STRIPE_WEBHOOK_SECRET": state.stripe_webhook_secret,
            "TRAFFIC_ENGINE_TOKEN": state.secrets["trafficEngineToken"],
            "WISE_API_TOKEN": state.secrets["wiseApiToken"],
            "WISE_PROFILE_ID": state.secrets["wiseProfileId"],
            "WISE_WEBHOOK_PRIVATE_KEY_FILE": str(keys.wise_private),
        },
        ready=probes_of(state)["sandboxes"],
        port=state.ports[SANDBOXES[0]],
    )


def _front(state: State, keys: Keys) -> list[Process]:
    configuration = state.paths.run / "envoy.json"
    return [
        Process(
            name="gateway",
            command=envoy.command(configuration),
            prepare=lambda: write_privately(configuration, json.dumps(gateway_configuration(state, keys), indent=1)),
            needs=SERVICES,
            ready=probes_of(state)["gateway"],
            port=state.gateway_port,
        ),
        Process(
            name="scheduler",
            command=(sys.executable, "-m", "adctl.scheduler"),
            needs=("gateway",),
            environment={"GATEWAY_URL": state.gateway_url, "SERVICE_KEY_FILE": str(keys.of(SCHEDULER))},
        ),
    ]


def gateway_configuration(state: State, keys: Keys) -> object:
    """Return the gateway's configuration for the platform here."""
    from adgateway.configuration import render
    from adgateway.settings import Settings

    return render(
        Settings(
            listen_port=state.gateway_port,
            admin_port=state.ports["gateway-admin"],
            endpoints={service: [(LOOPBACK, state.ports[service])] for service in SERVICES},
            pixel_http=[(LOOPBACK, state.ports["pixel-service-http"])],
            service_keys=keys.jwks.read_text(),
        )
    )


def _require(module: str) -> None:
    try:
        found = find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise ChildError(f"there is no module {module} in this Python environment ({sys.prefix})")
