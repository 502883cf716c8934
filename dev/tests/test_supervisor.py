"""The supervisor, with small real processes."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from adctl.supervision.logs import LogCollector
from adctl.supervision.process import Phase, PlatformPhase, Process, Snapshot
from adctl.supervision.supervisor import Supervisor

SLEEP = ("sleep", "60")


class Groups:
    def __init__(self) -> None:
        self.live: set[int] = set()

    def started(self, pid: int) -> None:
        self.live.add(pid)

    def ended(self, pid: int) -> None:
        self.live.remove(pid)


class Harness:
    """Runs a supervisor until a condition on its snapshots holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.groups = Groups()
        self.seen: list[Snapshot] = []
        self.reports: list[str] = []

    def run(self, *processes: Process, until: Callable[[Snapshot], bool], **options: float) -> str:
        supervisor = Supervisor(
            processes,
            logs=LogCollector(lambda name: self.folder / f"{name}.log"),
            groups=self.groups,
            on_change=self.seen.append,
            report=self.reports.append,
            environment={"PATH": "/usr/bin:/bin"},
            **options,  # type: ignore[arg-type]  # the numbers among its fields
        )
        deadline = time.monotonic() + 20

        def requests() -> int:
            assert time.monotonic() < deadline, self.seen[-1]
            return int(any(until(snapshot) for snapshot in self.seen[-3:]) or self.stopping)

        self.stopping = False
        reason = supervisor.run(lambda: self._remember(requests()))
        assert not self.groups.live
        return reason

    def _remember(self, request: int) -> int:
        self.stopping = self.stopping or bool(request)
        return request

    def order(self, phase: Phase) -> list[str]:
        """Return names in the order in which they were first seen in the phase."""
        found: list[str] = []
        for snapshot in self.seen:
            found += [view.name for view in snapshot.processes if view.phase is phase and view.name not in found]
        return found


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path)


def up(snapshot: Snapshot) -> bool:
    return snapshot.phase is PlatformPhase.UP


def test_processes_start_after_their_needs_and_stop_before_them(harness: Harness) -> None:
    done: list[str] = []
    reason = harness.run(
        Process(name="front", command=SLEEP, needs=("service",)),
        Process(name="service", command=SLEEP, needs=("migrate",), ready=lambda pid: psutil.pid_exists(pid)),
        Process(name="migrate", command=("true",), needs=("step",), once=True),
        Process(name="step", needs=("store",), once=True, prepare=lambda: done.append("step")),
        Process(name="store", command=SLEEP),
        until=up,
    )
    assert reason == ""
    assert done == ["step"]
    assert harness.order(Phase.STARTING) == ["store", "migrate", "service", "front"]
    assert harness.order(Phase.STOPPING) == ["front", "service", "store"]
    assert {one.phase for one in harness.seen[-1].processes} == {Phase.STOPPED, Phase.DONE}


def test_exited_server_restarts_with_backoff_and_its_workers_are_killed(harness: Harness, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 60 & echo $! >> {pids}; test $(wc -l < {pids}) -lt 3 && sleep 0.1 && exit 4; wait"
    reason = harness.run(
        Process(name="service", command=("sh", "-c", script), ready=lambda pid: True),
        until=lambda snapshot: up(snapshot) and snapshot.processes[0].restarts == 2 and snapshot.is_healthy,
    )
    assert reason == ""
    assert "service ended with code 4; it is started again in 0.2 s" in harness.reports[0]
    assert any("started again in 0.4 s" in text for text in harness.reports)
    workers = [int(pid) for pid in pids.read_text().split()]
    assert len(workers) == 3
    assert [pid for pid in workers if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"] == []


def test_server_that_keeps_exiting_fails_the_start_with_the_end_of_its_log(harness: Harness) -> None:
    reason = harness.run(
        Process(name="store", command=SLEEP),
        Process(name="service", command=("sh", "-c", "echo the key is missing; exit 3"), ready=lambda pid: False),
        until=lambda snapshot: False,
    )
    assert reason.startswith("service ended with code 3\n")
    assert reason.endswith("  the key is missing")
    assert harness.seen[-1].phase is PlatformPhase.FAILED


def test_server_not_ready_in_time_fails_the_start(harness: Harness) -> None:
    process = Process(name="service", command=SLEEP, ready=lambda pid: False)
    reason = harness.run(process, until=lambda snapshot: False, start_timeout_s=0.3)
    assert reason == "service was not ready within 0.3 s"


def test_failed_task_is_named(harness: Harness) -> None:
    task = Process(name="migrate", command=("sh", "-c", "echo bad column; exit 1"), once=True)
    assert harness.run(task, until=lambda snapshot: False) == "migrate ended with code 1\n  bad column"


def test_failed_preparation_is_reported_with_its_reason(harness: Harness) -> None:
    def fail() -> None:
        raise ValueError("there is no wheel")

    task = Process(name="store", command=SLEEP, once=True, prepare=fail)
    assert harness.run(task, until=lambda snapshot: False) == "store: there is no wheel"


def test_missing_program_is_named(harness: Harness) -> None:
    task = Process(name="store", command=("/no/such/program",), once=True)
    assert "/no/such/program" in harness.run(task, until=lambda snapshot: False)


def test_process_that_ignores_sigterm_is_killed_after_the_stop_timeout(harness: Harness, tmp_path: Path) -> None:
    ignoring = tmp_path / "ignoring"
    command = ("sh", "-c", f"trap '' TERM; touch {ignoring}; sleep 60")
    process = Process(name="deaf", command=command, ready=lambda pid: ignoring.exists())
    reason = harness.run(process, until=up, stop_timeout_s=0.3)
    assert reason == ""
    assert "deaf did not stop within 0.3 s" in harness.reports[-1]


def test_server_is_unhealthy_until_its_probe_succeeds_again(harness: Harness, tmp_path: Path) -> None:
    calls: list[int] = []

    def ready(pid: int) -> bool:
        calls.append(pid)
        return not 1 < len(calls) < 6

    reason = harness.run(
        Process(name="service", command=SLEEP, ready=ready),
        until=lambda snapshot: snapshot.is_healthy and len(calls) > 6,
        probe_interval_s=0.01,
    )
    assert reason == ""
    assert harness.reports == ["service does not answer its health check", "service is healthy again"]
    assert len(set(calls)) == 1


def test_unknown_need_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no process is named store"):
        Supervisor(
            [Process(name="a", needs=("store",))], logs=LogCollector(lambda name: tmp_path / name), groups=Groups()
        )
