"""The supervisor's published state, on a full disk."""

import os
import time
from pathlib import Path

import pytest

from adctl.platform.status import Publisher, last, publish
from adctl.state import Paths, write_privately
from adctl.supervision import disk
from adctl.supervision.process import PlatformPhase, Snapshot

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="this kernel has no device that is always full")
STARTING, UP = Snapshot(PlatformPhase.STARTING, ()), Snapshot(PlatformPhase.UP, ())


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "home").make()


def test_full_disk_delays_a_snapshot_and_retains_the_last_one(paths: Paths) -> None:
    publish(paths, STARTING)
    said: list[str] = []
    publisher = Publisher(paths, said.append)
    (paths.run / "status.new").symlink_to(FULL)
    publisher.publish(UP)
    assert last(paths) == (os.getpid(), STARTING)
    assert said == [f"nothing can be written in {paths.run}: No space left on device; the platform keeps running"]
    # The failed write deleted the link, so there is space again.
    deadline = time.monotonic() + 10
    while last(paths) != (os.getpid(), UP):
        assert time.monotonic() < deadline
        publisher.retry()
        time.sleep(0.01)
    assert said[1:] == ["the disk accepts writes again"]


def test_errors_not_caused_by_the_disk_are_raised(paths: Paths) -> None:
    (paths.run / "status.new").mkdir()
    with pytest.raises(IsADirectoryError):
        Publisher(paths, lambda text: None).publish(UP)


def test_full_disk_is_named_with_its_folder(paths: Paths) -> None:
    assert disk.write_failure([paths.run, paths.logs]) == ""
    (paths.logs / f".probe.{os.getpid()}").symlink_to(FULL)
    assert (
        disk.write_failure([paths.run, paths.logs])
        == f"nothing can be written in {paths.logs}: No space left on device"
    )


def test_unchanged_private_file_is_not_rewritten(tmp_path: Path) -> None:
    file = tmp_path / "envoy.json"
    write_privately(file, "{}")
    before = file.stat().st_ino
    write_privately(file, "{}")
    assert file.stat().st_ino == before
    file.chmod(0o644)
    write_privately(file, "{}")
    assert file.stat().st_mode & 0o777 == 0o600
