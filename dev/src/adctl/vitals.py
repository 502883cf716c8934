"""How to ask each server of the platform whether it answers: for its start, its health check and `adctl status`."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from adctl import disk, probes
from adctl.embedded import envoy, valkey
from adctl.probes import Probe
from adctl.process import Phase, Snapshot
from adctl.state import SANDBOXES, SERVICES, State

_SHOULD_ANSWER = (Phase.READY, Phase.UNHEALTHY)


@dataclass(frozen=True)
class Vitals:
    """What is wrong right now, whatever the supervisor last saw."""

    silent: tuple[str, ...] = ()
    """Servers that run and do not answer."""
    disk: str = field(default="")
    """Why nothing can be written, where that is so."""

    @property
    def well(self) -> bool:
        """Whether nothing is wrong."""
        return not self.silent and not self.disk


def probes_of(state: State) -> Mapping[str, Probe]:
    """Return how each server is asked, within about a second; the scheduler listens nowhere."""
    port = state.ports
    return {
        "postgres": lambda pid: probes.postgres_answers(port["postgres"]),
        "valkey": lambda pid: valkey.is_ready(port["valkey"], state.secrets["valkey"]),
        **{service: _service(state, service) for service in SERVICES},
        "sandboxes": lambda pid: all(probes.http_ok(port[name], "/sandbox/health") for name in SANDBOXES),
        "gateway": lambda pid: envoy.is_ready(port["gateway-admin"]),
    }


def _service(state: State, service: str) -> Probe:
    port, http_port = state.ports[service], state.ports["pixel-service-http"]
    if service == "pixel-service":
        return lambda pid: probes.grpc_serving(port) and probes.http_answers(http_port)
    return lambda pid: probes.grpc_serving(port)


def examine(state: State, snapshot: Snapshot) -> Vitals:
    """Ask all servers that are up at the same time, and try the disk."""
    asked = probes_of(state)
    views = [view for view in snapshot.processes if view.phase in _SHOULD_ANSWER and view.pid and view.name in asked]
    with ThreadPoolExecutor(len(asked)) as threads:
        answers = list(threads.map(lambda view: asked[view.name](view.pid or 0), views))
    silent = tuple(view.name for view, answered in zip(views, answers, strict=True) if not answered)
    paths = state.paths
    return Vitals(silent, disk.trouble([paths.run, paths.logs, paths.data]))
