"""The processes of a service: one worker per port, because the gateway opens one HTTP/2 connection to each port."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType

from adlib.rpc.server import Server, ServiceProcess, Settings
from adlib.telemetry import configure_logging, logger, serve_metrics

_PR_SET_PDEATHSIG = 1
_log = logger(__name__)


def serve(settings: Settings, build: Callable[[], ServiceProcess]) -> None:
    """Serves until SIGTERM or SIGINT; with several ports, starts a child process for each."""
    configure_logging(settings.service)
    stop = threading.Event()

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    if len(settings.ports) == 1:
        _serve_port(settings, build, stop)
    else:
        _supervise(settings, stop)


def _serve_port(settings: Settings, build: Callable[[], ServiceProcess], stop: threading.Event) -> None:
    server = Server(build(), settings, settings.ports[0])
    serve_metrics(settings.host, settings.metrics_port)
    server.start()
    _log.info("serving", port=server.port)
    stop.wait()
    server.stop()
    _log.info("stopped")


def _supervise(settings: Settings, stop: threading.Event) -> None:
    """Starts a worker per port; if one ends, stops all and exits with 1, so that a supervisor restarts the service."""
    module = sys.modules["__main__"].__spec__
    if module is None:
        raise RuntimeError("start a service with several ports by `python -m`")
    command = [sys.executable, "-m", module.name.removesuffix(".__main__")]
    children = [
        subprocess.Popen(  # noqa: S603 - our own module
            command,
            env=os.environ
            | {"GRPC_PORTS": str(port), "METRICS_PORT": str(settings.metrics_port and settings.metrics_port + index)},
            preexec_fn=_terminate_with_parent,
        )
        for index, port in enumerate(settings.ports)
    ]
    while not stop.wait(0.2):
        if any(child.poll() is not None for child in children):
            _log.error("worker_ended")
            break
    failed = not stop.is_set()
    for child in children:
        child.terminate()
    for child in children:
        child.wait()
    if failed:
        raise SystemExit(1)


def _terminate_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
