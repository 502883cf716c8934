"""Serves the tracking URLs in a process of its own, until told to stop or left alone by the one that started it."""

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
from pixel_service.collector.app import Tracking

# Connections that are kept alive count as well, and 1,000 of them are nothing unusual.
_MAX_CONNECTIONS = 16_384
_BACKLOG = 4096
_JOIN_S = 5.0

_log = logger(__name__)


def serve(app: Tracking, host: str, port: int, background: Sequence[Runnable]) -> None:
    """Answers on the port; `background` runs beside, each on a thread."""
    stop = threading.Event()
    threads = [threading.Thread(target=runnable.run, args=[stop], daemon=True) for runnable in background]
    for thread in threads:
        thread.start()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app, host, port))
    stop.set()
    for thread in threads:
        thread.join(_JOIN_S)


async def _serve(app: Tracking, host: str, port: int) -> None:
    server = Server(
        app, address=host, port=port, interface=Interfaces.RSGI, websockets=False, log_enabled=False,
        backlog=_BACKLOG, backpressure=_MAX_CONNECTIONS,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    _stop_when_alone(loop, server)
    _log.info("tracking", port=port)
    await server.serve()
    _log.info("tracking_stopped")


def _stop_when_alone(loop: asyncio.AbstractEventLoop, server: Server) -> None:
    """Whoever started us holds the other end of our standard input; it closes with them, however they end."""
    stdin = sys.stdin.fileno()
    if not stat.S_ISFIFO(os.fstat(stdin).st_mode):
        return

    def readable() -> None:
        if not os.read(stdin, 1024):
            loop.remove_reader(stdin)
            loop.call_soon(server.stop)

    loop.add_reader(stdin, readable)
