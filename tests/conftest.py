"""The whole platform, started once per run with `adctl up`."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from adctl.ports import free_port
from adctl.state import State, load


def adctl(home: Path, *arguments: str) -> str:
    """Runs the command with its state in `home` and returns its output; AssertionError if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "adctl", *arguments],
        env={**os.environ, "ADPLATFORM_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, f"adctl {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


def processes_of(home: Path) -> list[psutil.Process]:
    """Every process that was started for the platform in `home`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ADPLATFORM_HOME") == str(home) or str(home) in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="session")
def platform() -> Iterator[State]:
    """A running platform; it must leave no process behind.

    Tests that use it are in the xdist group "platform", so that it is started once.
    """
    home = Path(tempfile.mkdtemp(prefix="adplatform-whole-"))
    try:
        adctl(home, "up", "--detach", "--port", str(free_port()))
        yield load(home)
        adctl(home, "down")
        assert processes_of(home) == []
    finally:
        for process in processes_of(home):
            process.kill()
        shutil.rmtree(home, ignore_errors=True)
