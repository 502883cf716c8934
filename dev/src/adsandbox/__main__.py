"""Serves the sandboxes that have a port, each on its own at loopback, until SIGTERM or Ctrl-C."""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module

import uvicorn

from adsandbox.sandbox import Listener, Sandbox
from adsandbox.settings import Settings, SettingsError, parties

STOP_TIMEOUT_S = 2

_log = logging.getLogger("adsandbox")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat()
        line = {"time": at, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Server(uvicorn.Server):
    """A server without signal handlers: the process has several servers."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve(sandboxes: list[Sandbox]) -> None:
    """Serve all sandboxes until a signal; stop all when one fails."""
    servers = [(_server(sandbox), _bind(sandbox)) for sandbox in sandboxes]
    others = [(listener, _bind(listener)) for sandbox in sandboxes for listener in sandbox.listeners]

    def stop() -> None:
        for server, _ in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    ports = {sandbox.name: bound.getsockname()[1] for sandbox, (_, bound) in zip(sandboxes, servers, strict=True)}
    ports |= {listener.name: bound.getsockname()[1] for listener, bound in others}
    _log.info("listening %s", json.dumps(ports))
    loop = asyncio.get_running_loop()
    listening = [await loop.create_server(listener.protocol, sock=bound) for listener, bound in others]
    async with asyncio.TaskGroup() as tasks:
        beside = [tasks.create_task(work()) for sandbox in sandboxes for work in sandbox.background]
        async with asyncio.TaskGroup() as serving:
            for server, bound in servers:
                serving.create_task(server.serve([bound]))
        for task in beside:
            task.cancel()
    for one in listening:
        one.close()
    for sandbox in sandboxes:
        sandbox.database.close()


def _server(sandbox: Sandbox) -> _Server:
    # A deliberately delayed answer must not delay the end of the process.
    config = uvicorn.Config(
        sandbox.app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=STOP_TIMEOUT_S
    )
    return _Server(config)


def _bind(served: Sandbox | Listener) -> socket.socket:
    # asyncio turns Nagle's algorithm off only for sockets that name TCP; without, each answer waits 40 ms for an ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", served.port))
        listener.listen()  # from here on a connection waits to be served, and is not refused
    except OSError as error:
        raise SettingsError(f"{served.name}: port {served.port} cannot be used: {error.strerror}") from error
    return listener


def _build(party: str, settings: Settings) -> Sandbox:
    # Only the sandboxes that are served are imported: the chain's EVM takes half a second and 30 MB.
    sandbox: Sandbox = import_module(f"adsandbox.{party}.sandbox").build(settings)
    return sandbox


def main() -> None:
    """Build the sandboxes from the environment and serve them."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("httpx", "uvicorn", "mail.log"):  # the last is aiosmtpd's
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        settings = Settings(os.environ)
        asyncio.run(serve([_build(party, settings) for party in parties() if settings.has_port(party)]))
    except SettingsError as error:
        sys.exit(f"adsandbox: {error}")


if __name__ == "__main__":
    main()
