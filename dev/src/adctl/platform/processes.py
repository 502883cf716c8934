"""The processes of the local platform: their commands, needs and health checks."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

from adctl.embedded import envoy, postgres, valkey
from adctl.errors import UserError
from adctl.keys import SCHEDULER, Keys
from adctl.platform import chain
from adctl.platform.databases import make_database
from adctl.platform.environment import sandbox_environment, service_environment
from adctl.platform.vitals import server_probes
from adctl.ports import LOOPBACK
from adctl.state import DATABASES, SERVICES, State, write_privately
from adctl.supervision.process import Process

GATEWAY, GATEWAY_CONFIGURATION, SANDBOX_SERVER, SCHEDULER_PROCESS = (
    "gateway",
    "gateway-config",
    "sandboxes",
    "scheduler",
)

# One Python process runs both commands, because starting Python takes most of the time.
_COMMANDS = dict.fromkeys(SERVICES, ("migrate", "serve")) | {
    "auth-service": ("migrate", "create-admin", "serve"),
}


def platform_processes(state: State) -> list[Process]:
    """Return all processes of the platform; creates the keys and folders that are missing."""
    keys = Keys(state.paths.keys)
    keys.make()
    chain.make_xpub(keys.chain_seed, keys.chain_xpub)
    for folder in ("warehouse", "sandbox"):
        (state.paths.data / folder).mkdir(mode=0o700, exist_ok=True)
    services = [process for service in SERVICES for process in _service(state, keys, service)]
    return [*_stores(state), *services, _sandboxes(state, keys), *_gateway(state, keys), _scheduler(state, keys)]


def _stores(state: State) -> list[Process]:
    cluster = postgres.Cluster(state.paths.data / "postgres")
    postgres_port, valkey_port = state.ports["postgres"], state.ports["valkey"]
    password, ready = state.secrets["valkey"], server_probes(state)
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


def _service(state: State, keys: Keys, service: str) -> list[Process]:
    module = service.replace("-", "_")
    database = f"{service} database"
    step = Process(name=database, needs=("postgres",), once=True, prepare=lambda: make_database(state, service))
    return [
        *([step] if service in DATABASES else []),
        Process(
            name=service,
            command=(sys.executable, "-m", module, *_COMMANDS[service]),
            prepare=lambda: _require(f"{module}.__main__"),
            needs=(*([database] if service in DATABASES else []), "valkey"),
            environment=service_environment(state, keys, service),
            ready=server_probes(state)[service],
            port=state.ports[service],
        ),
    ]


def _sandboxes(state: State, keys: Keys) -> Process:
    return Process(
        name=SANDBOX_SERVER,
        command=(sys.executable, "-m", "adsandbox"),
        prepare=lambda: _require("adsandbox.__main__"),
        environment=sandbox_environment(state, keys),
        ready=server_probes(state)["sandboxes"],
        port=state.ports["stripe-sandbox"],
    )


def _gateway(state: State, keys: Keys) -> list[Process]:
    """Return the step that renders Envoy's configuration, in a process of its own so that it can be reloaded."""
    settings, configuration = state.paths.run / "gateway.json", state.paths.run / "envoy.json"
    return [
        Process(
            name=GATEWAY_CONFIGURATION,
            command=(sys.executable, "-m", "adgateway", str(settings), "--output", str(configuration)),
            prepare=lambda: write_privately(settings, json.dumps(_gateway_settings(state, keys), indent=1)),
            once=True,
        ),
        Process(
            name=GATEWAY,
            command=envoy.command(configuration),
            needs=(GATEWAY_CONFIGURATION, *SERVICES),
            ready=server_probes(state)["gateway"],
            port=state.gateway_port,
        ),
    ]


def _gateway_settings(state: State, keys: Keys) -> dict[str, object]:
    return {
        "listen_port": state.gateway_port,
        "admin_port": state.ports["gateway-admin"],
        "endpoints": {service: [f"{LOOPBACK}:{state.ports[service]}"] for service in SERVICES},
        "pixel_http": [f"{LOOPBACK}:{state.ports['pixel-service-http']}"],
        "service_keys_file": str(keys.jwks),
    }


def _scheduler(state: State, keys: Keys) -> Process:
    return Process(
        name=SCHEDULER_PROCESS,
        command=(sys.executable, "-m", "adctl.operations.scheduler"),
        needs=(GATEWAY,),
        environment={"GATEWAY_URL": state.gateway_url, "SERVICE_KEY_FILE": str(keys.of(SCHEDULER))},
    )


def _require(module: str) -> None:
    try:
        exists = find_spec(module) is not None
    except ModuleNotFoundError:
        exists = False
    if not exists:
        raise UserError(f"there is no module {module} in this Python environment ({sys.prefix})")
