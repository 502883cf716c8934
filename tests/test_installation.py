"""Every supported pip installs exactly the locked releases, even if the index has newer ones."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.package_index import NEWER, Entry, PackageIndex, entries, serving

ROOT = Path(__file__).parents[1]
INSTALL = ROOT / "make" / "install.py"

# The indexes and environments are large, so one worker makes them one after the other.
pytestmark = pytest.mark.xdist_group("installation")


@pytest.fixture(scope="module")
def oldest_pip() -> Path:
    found = list((ROOT / ".venv" / "oldest-pip").glob("pip-*.whl"))
    assert found, "the oldest supported pip is missing: `make test` downloads it"
    return found[0]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[PackageIndex]:
    with serving(PackageIndex(tmp_path / "index")) as index:
        index.add_installed_uv()
        yield index


@pytest.fixture
def environment(index: PackageIndex, tmp_path: Path) -> dict[str, str]:
    """An environment whose pip and uv know only this index and have an empty cache."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "MAKE", "VIRTUAL_"))
    }
    return kept | {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": index.url,
        "PIP_NO_CACHE_DIR": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "NO_PROXY": "*",
    }


def run(*command: str | Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=300)


def empty_venv(folder: Path, pip: Path, environment: dict[str, str]) -> Path:
    python = folder / "bin" / "python"
    subprocess.run((sys.executable, "-m", "venv", "--without-pip", folder), check=True)
    made = run(python, pip / "pip", "install", "--quiet", "--no-index", "--no-deps", pip, environment=environment)
    assert made.returncode == 0, made.stderr
    return python


def installed(python: Path) -> dict[str, str]:
    (packages,) = python.parents[1].glob("lib/python3.*/site-packages")
    found = importlib.metadata.distributions(path=[str(packages)])
    return {distribution.name.lower().replace("_", "-"): distribution.version for distribution in found}


def uv() -> Entry:
    return Entry("uv", importlib.metadata.version("uv"))


def test_newer_releases_in_the_index_do_not_change_the_installation(
    index: PackageIndex, environment: dict[str, str], oldest_pip: Path, tmp_path: Path
) -> None:
    wanted = entries((ROOT / "requirements" / "lock.txt").read_text())
    assert len(wanted) > 100
    for entry in wanted:
        if entry.name != "uv":
            index.add_empty(entry.name, entry.version)
            index.add_empty(entry.name, NEWER)
    lock = tmp_path / "lock.txt"
    lock.write_text(index.lock(wanted))

    resolving = empty_venv(tmp_path / "resolving", oldest_pip, environment)
    refused = run(resolving, "-m", "pip", "install", "--require-hashes", "-r", lock, environment=environment)
    assert "all requirements must have their versions pinned" in refused.stderr

    python = empty_venv(tmp_path / "venv", oldest_pip, environment)
    done = run(python, INSTALL, lock, environment=environment)

    assert done.returncode == 0, done.stderr
    here = installed(python)
    locked = {entry.name.lower(): entry.version for entry in wanted}
    assert here.items() <= locked.items()
    # Only entries whose marker excludes this platform may be missing.
    assert {entry.name.lower() for entry in wanted if not entry.marker} <= here.keys()


@pytest.fixture
def workspace(tmp_path: Path, index: PackageIndex) -> Path:
    """A workspace with the make rules and a small lock, for the rule that installs the lock."""
    folder = tmp_path / "workspace"
    shutil.copytree(ROOT / "make", folder / "make", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "protos").mkdir()
    (folder / "Makefile").write_text("ROOT := $(CURDIR)\ninclude make/venv.mk\n")
    for name in ("first", "second", "third"):
        index.add_empty(name, "1.0")
    pip = importlib.metadata.version("pip")
    index.add_empty("pip", pip)
    (folder / "requirements").mkdir()
    write_lock(folder, index, "first", "second")
    return folder


def write_lock(workspace: Path, index: PackageIndex, *names: str) -> None:
    wanted = [uv(), *(Entry(name, "1.0") for name in names)]
    (workspace / "requirements" / "lock.txt").write_text(index.lock(wanted))


def make(workspace: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return run(
        "make", "-C", workspace, f"{workspace}/.venv/.locked", f"PYTHON={sys.executable}", environment=environment
    )


def test_make_installs_the_lock_and_recovers_from_interruptions(
    workspace: Path, index: PackageIndex, environment: dict[str, str]
) -> None:
    python = workspace / ".venv" / "bin" / "python"

    # An environment without pip, as an interruption leaves it, is created again. A truncated download is named.
    subprocess.run((sys.executable, "-m", "venv", "--without-pip", workspace / ".venv"), check=True)
    index.break_downloads("second")
    broken = make(workspace, environment)
    assert broken.returncode != 0
    assert "second" in broken.stderr

    # The next make completes it.
    index.repair_downloads("second")
    completed = make(workspace, environment)
    assert completed.returncode == 0, completed.stderr
    assert {"first", "second"} <= installed(python).keys()

    # A repeat sends no request to the index.
    index.requested.clear()
    assert make(workspace, environment).returncode == 0
    assert index.requested == []

    # A package that is removed from the lock is uninstalled.
    write_lock(workspace, index, "second")
    assert make(workspace, environment).returncode == 0
    assert {"first", "second"} & installed(python).keys() == {"second"}

    # A file with another hash is refused by name.
    write_lock(workspace, index, "second", "third")
    index.replace("third")
    refused = make(workspace, environment)
    assert refused.returncode != 0
    assert "third" in refused.stderr
    assert "third" not in installed(python)
