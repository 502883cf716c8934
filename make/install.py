"""Installs exactly what a lock lists into the virtual environment whose Python runs this file.

pip installs uv, by its hash in the same lock and without dependencies; uv installs the rest. Neither resolves anything:
what the lock lists is installed, what it does not list is removed, and later releases make no difference.

Usage: python make/install.py requirements/lock.txt
"""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# uv does not read pip's configuration, so these settings of pip are passed to uv as these variables.
_UV_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def locked_uv(lock: str) -> tuple[str, str]:
    """uv's version in a lock, and its requirement with the hashes."""
    found = re.search(r"^uv==(\S+).*(?:\n[ \t]+--hash=.*)+", lock, re.MULTILINE)
    if not found:
        raise SystemExit("the lock does not list uv with its hashes: run `make lock`")
    return found[1], found[0]


def pip_settings(listed: str) -> dict[str, str]:
    """Translates the output of `pip config list` to uv's variables; pip's environment wins over its files."""
    settings: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        for line in listed.splitlines():
            key, _, value = line.partition("=")
            name = key.removeprefix(f"{section}.")
            if name != key and name in _UV_VARIABLES:
                settings[_UV_VARIABLES[name]] = " ".join(filter(_exists, str(ast.literal_eval(value)).split()))
    return {name: value for name, value in settings.items() if value}


def _exists(location: str) -> bool:
    """Whether a URL or a local folder exists. pip ignores a missing folder; uv would stop."""
    path = location.removeprefix("file://")
    return not path.startswith("/") or Path(path).exists()


def main() -> None:
    """Installs the lock; exits with the installer's message if a package is unavailable or has another hash."""
    lock = Path(sys.argv[1])
    version, requirement = locked_uv(lock.read_text())
    try:
        is_installed = importlib.metadata.version("uv") == version
    except importlib.metadata.PackageNotFoundError:
        is_installed = False
    if not is_installed:
        with tempfile.TemporaryDirectory() as folder:
            requirements = Path(folder, "uv.txt")
            requirements.write_text(requirement)
            install = ("install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:")
            _run(*_PIP, *install, "--requirement", str(requirements))
    listed = subprocess.run((*_PIP, "config", "list"), check=True, capture_output=True, text=True).stdout
    environment = pip_settings(listed) | {"UV_INDEX_STRATEGY": "unsafe-best-match"} | os.environ
    sync = ("pip", "sync", "--require-hashes", "--only-binary", ":all:", "--python", sys.executable)
    # Without bytecode every process compiles its imports again where Python may not write, as in many containers.
    _run(sys.executable, "-m", "uv", *sync, "--compile-bytecode", str(lock), environment=environment)


def _run(*command: str, environment: dict[str, str] | None = None) -> None:
    ended = subprocess.run(command, check=False, env=environment)
    if ended.returncode:
        raise SystemExit(ended.returncode)


if __name__ == "__main__":
    main()
