"""Prints the part of the lock that one service's image installs, or that its wheels are built with.

The lock's `# via` comments say which package needs which, so this resolves nothing: every line, version and hash comes
from the lock. It uses the standard library alone, because it runs in the image's build before anything is installed.

Usage:
    python make/service_lock.py auth-service            what the service needs to run
    python make/service_lock.py auth-service --build    what its wheels are built with
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Built from the tree for every service, beside the service itself.
SHARED = ("protos", "libs")
_OURS = "adplatform-"


@dataclass(frozen=True)
class Entry:
    """One package of the lock: its lines, and the packages that need it."""

    name: str
    text: str
    needed_by: frozenset[str]


def normalized(name: str) -> str:
    """A package's name as an index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(lock: str) -> Iterator[Entry]:
    """The lock's packages, in its order."""
    for block in re.findall(r"^[^\s#].*(?:\n[ \t]+.*)*", lock, re.MULTILINE):
        text, _, via = block.partition("\n    # via ")
        name = re.split(r"[\[=]", text, maxsplit=1)[0]
        yield Entry(normalized(name), text, frozenset(normalized(parent.strip()) for parent in via.split(",")))


def names(requirements: Sequence[str]) -> set[str]:
    """The external packages that requirements name."""
    found = {normalized(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) for requirement in requirements}
    return {name for name in found if not name.startswith(_OURS)}


def closure(lock: str, roots: set[str]) -> list[Entry]:
    """The entries of these packages and of all that they need; an error names a root that the lock does not list."""
    listed: Mapping[str, Entry] = {entry.name: entry for entry in entries(lock)}
    if missing := roots - set(listed):
        raise SystemExit(f"the lock does not list {', '.join(sorted(missing))}: run `make lock`")
    found, previous = set(roots), set[str]()
    while found != previous:
        previous = set(found)
        found |= {entry.name for entry in listed.values() if entry.needed_by & previous}
    return [entry for entry in listed.values() if entry.name in found]


def roots(projects: Sequence[dict[str, Any]], *, is_build: bool) -> set[str]:
    """The build requirements of these pyproject.toml files, or their dependencies."""
    if is_build:
        return names([requirement for project in projects for requirement in project["build-system"]["requires"]])
    return names([requirement for project in projects for requirement in project["project"]["dependencies"]])


def service_lock(service: str, *, is_build: bool = False) -> list[Entry]:
    """The part of the lock for a service and the packages of the tree that it needs."""
    projects = [tomllib.loads((ROOT / folder / "pyproject.toml").read_text()) for folder in (*SHARED, service)]
    return closure((ROOT / "requirements" / "lock.txt").read_text(), roots(projects, is_build=is_build))


def main(arguments: Sequence[str]) -> None:
    """Prints the entries, hashes included."""
    for entry in service_lock(arguments[0], is_build="--build" in arguments[1:]):
        print(entry.text)


if __name__ == "__main__":
    main(sys.argv[1:])
