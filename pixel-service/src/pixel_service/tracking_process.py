"""Supervises the process of the tracking URLs, which runs beside the gRPC server and outside its interpreter lock."""

import http.client
import subprocess
import sys
import threading

from adlib.telemetry import logger
from pixel_service.tracking_urls import HEALTH_PATH

_COMMAND = (sys.executable, "-m", "pixel_service", "tracking")
_POLL_INTERVAL_S = 0.1
_RESTART_DELAY_S = 0.5
_STOP_TIMEOUT_S = 8.0
_HEALTH_TIMEOUT_S = 1.0

_log = logger(__name__)


class TrackingProcess:
    """Starts the process with this one's environment, restarts it when it dies, and stops it at the end."""

    def __init__(self, host: str, port: int) -> None:
        self._host = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - compared, not bound
        self._port = port

    def run(self, stop: threading.Event) -> None:
        """Supervises until `stop` is set."""
        while not stop.is_set():
            # The child stops when this pipe closes, so it stops even if this process is killed.
            with subprocess.Popen(_COMMAND, stdin=subprocess.PIPE) as child:  # noqa: S603 - our own module
                while child.poll() is None and not stop.wait(_POLL_INTERVAL_S):
                    pass
                if stop.is_set():
                    _stop(child)
                    return
            _log.error("tracking_process_died", status=child.returncode)
            stop.wait(_RESTART_DELAY_S)

    def check(self) -> None:
        """Raises unless the tracking URLs answer."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_HEALTH_TIMEOUT_S)
        try:
            connection.request("GET", HEALTH_PATH)
            status = connection.getresponse().status
        finally:
            connection.close()
        if status != 200:
            raise ConnectionError(f"{HEALTH_PATH} answers {status}")


def _stop(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    try:
        child.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
