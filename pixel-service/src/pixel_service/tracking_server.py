"""Serves the tracking URLs in a process of their own, until SIGTERM or the death of its parent process."""

import asyncio
import os
import signal
import stat
import sys
import threading
from collections.abc import Sequence

import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server

from adlib.rpc import Runnable
from adlib.telemetry import logger
from pixel_service.tracking_app import TrackingApp

# Idle keep-alive connections count too, and 1,000 of them are common.
_MAX_CONNECTIONS = 16_384
_BACKLOG = 4096
_JOIN_TIMEOUT_S = 5.0

_log = logger(__name__)


def serve(app: TrackingApp, host: str, port: int, background: Sequence[Runnable]) -> None:
    """Serves the port, and runs each of `background` on a thread meanwhile."""
    stop = threading.Event()
    threads = [threading.Thread(target=runnable.run, args=[stop], daemon=True) for runnable in background]
    for thread in threads:
        thread.start()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app, host, port))
    stop.set()
    for thread in threads:
        thread.join(_JOIN_TIMEOUT_S)


async def _serve(app: TrackingApp, host: str, port: int) -> None:
    server = Server(
        app, address=host, port=port, interface=Interfaces.RSGI, websockets=False, log_enabled=False,
        backlog=_BACKLOG, backpressure=_MAX_CONNECTIONS,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    _stop_with_parent(loop, server)
    _log.info("tracking_started", port=port)
    await server.serve()
    _log.info("tracking_stopped")


def _stop_with_parent(loop: asyncio.AbstractEventLoop, server: Server) -> None:
    """Stops the server when standard input closes: the parent process holds its other end until it dies."""
    stdin = sys.stdin.fileno()
    if not stat.S_ISFIFO(os.fstat(stdin).st_mode):
        return

    def read_stdin() -> None:
        if not os.read(stdin, 1024):
            loop.remove_reader(stdin)
            loop.call_soon(server.stop)

    loop.add_reader(stdin, read_stdin)
