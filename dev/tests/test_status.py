"""What the supervisor says about itself, on a disk that refuses it."""

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


def test_a_full_disk_leaves_the_last_word_and_gets_the_next_one_later(paths: Paths) -> None:
    publish(paths, STARTING)
    said: list[str] = []
    publisher = Publisher(paths, said.append)
    (paths.run / "status.new").symlink_to(FULL)
    publisher.publish(UP)
    assert last(paths) == (os.getpid(), STARTING)
    assert said == [f"nothing can be written in {paths.run}: No space left on device; the platform goes on"]
    # The link is gone, so there is space again.
    deadline = time.monotonic() + 10
    while last(paths) != (os.getpid(), UP):
        assert time.monotonic() < deadline
        publisher.retry()
        time.sleep(0.01)
    assert said[1:] == ["the disk takes what is written again"]


def test_what_is_not_the_disks_refusal_is_raised(paths: Paths) -> None:
    (paths.run / "status.new").mkdir()
    with pytest.raises(IsADirectoryError):
        Publisher(paths, lambda text: None).publish(UP)


def test_a_disk_that_takes_nothing_is_named(paths: Paths) -> None:
    assert disk.trouble([paths.run, paths.logs]) == ""
    (paths.logs / f".probe.{os.getpid()}").symlink_to(FULL)
    assert disk.trouble([paths.run, paths.logs]) == f"nothing can be written in {paths.logs}: No space left on device"


def test_a_file_that_says_the_same_already_needs_no_space(tmp_path: Path) -> None:
    file = tmp_path / "envoy.json"
    write_privately(file, "{}")
    before = file.stat().st_ino
    write_privately(file, "{}")
    assert file.stat().st_ino == before
    file.chmod(0o644)
    write_privately(file, "{}")
    assert file.stat().st_mode & 0o777 == 0o600
