"""Prints the services that a change affects, as JSON.

A service is affected when its own folder changed, and every service when something shared did.

Usage: python make/affected.py COMMIT    compares the working tree with it; an unknown commit affects every service
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Folders and files that every service is built or tested with.
_SHARED = ("libs/", "protos/", "dev/src/", "testing/", "make/", "requirements/", ".github/workflows/")
_SHARED_FILES = {".dockerignore", ".importlinter", "Dockerfile", "Makefile", "conftest.py", "pyproject.toml"}


def affected(changed: Sequence[str], services: Sequence[str]) -> list[str]:
    """The services whose pipeline has to run for these changed files."""
    if any(path in _SHARED_FILES or path.startswith(_SHARED) for path in changed):
        return list(services)
    return [service for service in services if any(path.startswith(f"{service}/") for path in changed)]


def changed_since(commit: str) -> list[str] | None:
    """The files that differ from a commit; None if this clone does not have it, as after a force push."""
    command = ["git", "diff", "--name-only", "-z", commit, "--"]
    ran = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    return [name for name in ran.stdout.split("\0") if name] if ran.returncode == 0 else None


def main(arguments: Sequence[str]) -> None:
    """Prints a JSON list of folders."""
    services = sorted(path.parent.name for path in ROOT.glob("*-service/pyproject.toml"))
    changed = changed_since(arguments[0])
    print(json.dumps(services if changed is None else affected(changed, services)))


if __name__ == "__main__":
    main(sys.argv[1:])
