"""The health of the platform's servers, for their start, their health checks and `adctl status`."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from adctl.embedded import envoy, valkey
from adctl.state import SANDBOXES, SERVICES, State
from adctl.supervision import disk, probes
from adctl.supervision.probes import Probe
from adctl.supervision.process import Phase, Snapshot

# The phases in which a server should answer its probe.
_PROBED_PHASES = (Phase.READY, Phase.UNHEALTHY)


@dataclass(frozen=True)
class Vitals:
    """The faults at this moment, independent of the supervisor's last health checks."""

    silent: tuple[str, ...] = ()
    """Servers that run and do not answer their probe."""
    disk: str = field(default="")
    """Why the state folder cannot be written to, or ""."""

    @property
    def is_healthy(self) -> bool:
        """Whether there is no fault."""
        return not self.silent and not self.disk


def server_probes(state: State) -> Mapping[str, Probe]:
    """Return the probe of each server; the scheduler has none, it listens on no port."""
    port = state.ports
    return {
        "postgres": lambda pid: probes.postgres_answers(port["postgres"]),
        "valkey": lambda pid: valkey.is_ready(port["valkey"], state.secrets["valkey"]),
        **{service: _service(state, service) for service in SERVICES},
        "sandboxes": lambda pid: all(probes.http_ok(port[name], "/sandbox/health") for name in SANDBOXES.values()),
        "gateway": lambda pid: envoy.is_ready(port["gateway-admin"]),
    }


def _service(state: State, service: str) -> Probe:
    port, http_port = state.ports[service], state.ports["pixel-service-http"]
    if service == "pixel-service":
        return lambda pid: probes.grpc_serving(port) and probes.http_answers(http_port)
    return lambda pid: probes.grpc_serving(port)


def examine(state: State, snapshot: Snapshot) -> Vitals:
    """Probe all servers that are up, concurrently, and the disk."""
    probed = server_probes(state)
    views = [view for view in snapshot.processes if view.phase in _PROBED_PHASES and view.pid and view.name in probed]
    with ThreadPoolExecutor(len(probed)) as threads:
        results = list(threads.map(lambda view: probed[view.name](view.pid or 0), views))
    silent = tuple(view.name for view, is_good in zip(views, results, strict=True) if not is_good)
    paths = state.paths
    return Vitals(silent, disk.write_failure([paths.run, paths.logs, paths.data]))
