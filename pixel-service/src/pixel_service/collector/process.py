"""Keeps the process that serves the tracking URLs alive, beside the gRPC server and away from its interpreter lock."""

import http.client
import subprocess
import sys
import threading

from adlib.telemetry import logger

_COMMAND = (sys.executable, "-m", "pixel_service", "tracking")
_LOOK_EVERY_S = 0.1
_RESTART_AFTER_S = 0.5
_STOP_WITHIN_S = 8.0
_ANSWER_WITHIN_S = 1.0

_log = logger(__name__)


class TrackingProcess:
    """Starts the process with this one's environment, starts it again when it dies, and takes it down at the end."""

    def __init__(self, host: str, port: int) -> None:
        self._host = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - where to ask, not where to listen
        self._port = port

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set."""
        while not stop.is_set():
            # The child ends when this pipe does, so nothing is left behind even when this process is killed.
            with subprocess.Popen(_COMMAND, stdin=subprocess.PIPE) as child:  # noqa: S603 - our own module
                while child.poll() is None and not stop.wait(_LOOK_EVERY_S):
                    pass
                if stop.is_set():
                    _end(child)
                    return
            _log.error("tracking_process_ended", status=child.returncode)
            stop.wait(_RESTART_AFTER_S)

    def check(self) -> None:
        """Raises unless the tracking URLs answer."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_ANSWER_WITHIN_S)
        try:
            connection.request("GET", "/track/health")
            status = connection.getresponse().status
        finally:
            connection.close()
        if status != 200:
            raise ConnectionError(f"/track/health answers {status}")


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    try:
        child.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        child.kill()
