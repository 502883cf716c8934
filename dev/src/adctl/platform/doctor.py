"""Checks of the machine's requirements for the platform, each with a remedy."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adctl import ports
from adctl.embedded import envoy, postgres, valkey
from adctl.errors import UserError
from adctl.supervision.children import NAMESPACE, NO_ACCESS, unprivileged

_DISK_MIB = 2_048
_MEMORY_MIB = 1_536
_OPEN_FILES = 4_096


@dataclass(frozen=True)
class Finding:
    """The result of a check; `remedy` is an instruction, empty if the check passed."""

    name: str
    found: str
    remedy: str = ""


def examine(home: Path, gateway_port: int, *, is_running: bool) -> list[Finding]:
    """Return the findings of all checks, in the order in which to fix them."""
    checks: list[Callable[[], Finding]] = [
        _python,
        lambda: _program("PostgreSQL", lambda: postgres.binary("postgres")),
        lambda: _program("Valkey", valkey.binary),
        lambda: _program("Envoy", envoy.binary),
        _identity,
        lambda: _disk(home),
        _memory,
        _open_files,
        lambda: _folder(home),
        lambda: _port(gateway_port, is_running=is_running),
    ]
    return [check() for check in checks]


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("Python", found, "" if sys.version_info >= (3, 11) else "install Python 3.11 or later")


def _program(name: str, path: Callable[[], Path]) -> Finding:
    again = "delete .venv and run `make up` again; its wheel has programs for Linux and macOS only"
    try:
        answer = subprocess.run([path(), "--version"], capture_output=True, text=True, timeout=20, check=True)
    except UserError as error:
        return Finding(name, str(error), again)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(name, f"does not run: {error}", again)
    return Finding(name, next((line.strip() for line in answer.stdout.splitlines() if line.strip()), "runs")[:60])


def _identity() -> Finding:
    identity = unprivileged()
    if identity == NAMESPACE:
        return Finding("account", f"uid {os.geteuid()}; PostgreSQL runs in a user namespace")
    if identity == NO_ACCESS:
        return Finding(
            "account", "root without user namespaces; PostgreSQL runs as the user `nobody`, its data in /var/tmp"
        )
    return Finding("account", f"uid {os.geteuid()}")


def _disk(home: Path) -> Finding:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(existing).free >> 20
    return Finding("free disk", f"{free:,} MiB at {existing}", _at_least(free, _DISK_MIB, "MiB; free some space"))


def _memory() -> Finding:
    import psutil

    free = psutil.virtual_memory().available >> 20
    return Finding("free memory", f"{free:,} MiB", _at_least(free, _MEMORY_MIB, "MiB; close other programs"))


def _open_files() -> Finding:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return Finding("open files", "no limit")
    return Finding("open files", f"limit {limit:,}", _at_least(limit, _OPEN_FILES, f"; run `ulimit -n {_OPEN_FILES}`"))


def _at_least(found: int, needed: int, remedy: str) -> str:
    return "" if found >= needed else f"the platform needs {needed:,} {remedy}"


def _folder(home: Path) -> Finding:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    good = os.access(existing, os.W_OK | os.X_OK)
    return Finding("state", str(home), "" if good else f"make {existing} writable, or set ADPLATFORM_HOME elsewhere")


def _port(port: int, *, is_running: bool) -> Finding:
    if is_running:
        return Finding("gateway", f"port {port}, the platform is up")
    try:
        free = ports.is_free(port)
    except PermissionError:
        return Finding("gateway", f"port {port} is for root only", "use `adctl up --port PORT` with a higher one")
    if free:
        return Finding("gateway", f"port {port} is free")
    return Finding("gateway", f"port {port} is taken by {ports.holder(port)}", "stop it, or use `adctl up --port PORT`")
