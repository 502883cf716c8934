"""The whole platform, run by `adctl`: real servers and gateway, fake services."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis

from adctl import ports
from adctl.operations import jobs
from adctl.platform import control
from adctl.platform.status import find
from adctl.state import SERVICES, Paths, load
from adtesting.small_disk import Filler, on_small_disk

HERE = Path(__file__).parent
pytestmark = pytest.mark.xdist_group("adctl")


class Platform:
    """A platform in a temporary folder and the command for it."""

    def __init__(self, folder: Path) -> None:
        self.paths = Paths(folder / "home")
        self.port = ports.free_port()
        self.environment = {
            **os.environ,
            "ADPLATFORM_HOME": str(self.paths.home),
            "PYTHONPATH": str(folder / "modules"),
        }
        for service in SERVICES:
            package = folder / "modules" / service.replace("-", "_")
            package.mkdir(parents=True)
            (package / "__init__.py").touch()
            (package / "__main__.py").write_text("import fake_service\nfake_service.main()\n")
        shutil.copy(HERE / "fakes" / "fake_service.py", folder / "modules")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "adctl", *arguments]

    def adctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def up(self) -> subprocess.CompletedProcess[str]:
        return self.adctl("up", "--detach", "--port", str(self.port))

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.adctl("status", "--json").stdout)
        return document

    def members(self) -> list[str]:
        """Return every process with our mark: children, their children, and those that were adopted by init."""
        mark = str(self.paths.home)
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("ADPLATFORM_HOME") == mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{process.pid} {' '.join(process.cmdline())[:100]}")
            except psutil.Error:
                continue
        return found


def wait_until(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    made = Platform(tmp_path_factory.mktemp("platform"))
    yield made
    made.adctl("down")
    wait_until(lambda: not made.members())


@pytest.fixture
def running(platform: Platform) -> Platform:
    if find(platform.paths) is None:
        started = platform.up()
        assert started.returncode == 0, started.stdout + started.stderr
    return platform


def test_second_up_prints_the_url_of_the_running_gateway(running: Platform) -> None:
    again = running.up()
    state = load(running.paths.home)
    assert again.returncode == 0
    assert "already up" in again.stdout
    assert state.gateway_url == f"http://localhost:{running.port}"
    assert state.gateway_url in again.stdout
    assert state.admin_password in again.stdout
    assert "curl" in again.stdout
    assert httpx.get(f"{state.gateway_url}/health").status_code == 200


def test_status_lists_every_process(running: Platform) -> None:
    views = {view["name"]: view for view in running.status()["snapshot"]["processes"]}
    servers = {name for name, view in views.items() if not view["once"]}
    assert servers == {*SERVICES, "postgres", "valkey", "sandboxes", "gateway", "scheduler"}
    assert {views[name]["phase"] for name in servers} == {"ready"}
    shown = running.adctl("status")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in servers)


def test_service_role_can_connect_only_to_its_own_database(running: Platform) -> None:
    assert running.adctl("psql", "auth", "-c", "CREATE TABLE kept AS SELECT 7 AS number").returncode == 0
    assert "7" in running.adctl("psql", "auth-service", "-tc", "SELECT number FROM kept").stdout
    refused = running.adctl("psql", "campaign", "-d", "auth", "-c", "SELECT 1")
    assert refused.returncode != 0
    assert "permission denied" in refused.stderr
    assert "auth, campaign" in running.adctl("psql", "analytics").stderr


def test_killed_service_restarts_and_is_counted(running: Platform) -> None:
    def view() -> dict[str, Any]:
        views: list[dict[str, Any]] = running.status()["snapshot"]["processes"]
        return next(view for view in views if view["name"] == "campaign-service")

    before = view()
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: view()["restarts"] == before["restarts"] + 1 and view()["phase"] == "ready")
    assert view()["pid"] != before["pid"]
    assert "campaign-service ended by SIGKILL" in running.paths.log("adctl").read_text()


@pytest.mark.parametrize("name", ["valkey", "postgres", "payment-service", "gateway"])
def test_status_names_a_frozen_server(running: Platform, name: str) -> None:
    wait_until(lambda: running.adctl("status").returncode == 0)
    views = running.status()["snapshot"]["processes"]
    frozen = psutil.Process(next(view["pid"] for view in views if view["name"] == name))
    frozen.suspend()
    try:
        wait_until(lambda: running.status()["vitals"]["silent"] == [name])
        shown = running.adctl("status")
        assert shown.returncode == 1
        assert f"{name} runs and does not answer" in shown.stdout.splitlines()
    finally:
        frozen.resume()
    wait_until(lambda: running.status()["vitals"]["silent"] == [])


def runs_again(supervisor: psutil.Process, module: str, killed: int) -> bool:
    for child in supervisor.children():
        try:
            if child.pid != killed and module in child.cmdline():
                return True
        except psutil.Error:
            continue
    return False


@on_small_disk(450)
def test_platform_recovers_from_a_full_disk_by_itself(small_disk: Path) -> None:
    platform, filler = Platform(small_disk / "platform"), Filler(small_disk)
    killed = ("postgres", "campaign-service")

    def views() -> dict[str, Any]:
        return {view["name"]: view for view in platform.status()["snapshot"]["processes"]}

    started = platform.up()
    assert started.returncode == 0, started.stdout + started.stderr
    try:
        before, supervisor = views(), psutil.Process(platform.status()["pid"])
        filler.fill()
        for name in killed:
            psutil.Process(before[name]["pid"]).kill()
        # The server restarts although nothing can be written, neither the log of its start nor the platform's state.
        wait_until(lambda: runs_again(supervisor, "campaign_service", before["campaign-service"]["pid"]))

        def shown_when_full() -> str:
            # A server that ends frees some space.
            filler.fill()
            shown = platform.adctl("status")
            assert shown.returncode == 1
            return shown.stdout

        wait_until(lambda: "nothing can be written in" in (shown := shown_when_full()) and "No space left" in shown)
        assert supervisor.is_running()
        filler.free()
        wait_until(lambda: platform.adctl("status").returncode == 0, seconds=40)
        after = views()
        assert all(after[name]["restarts"] >= 1 for name in killed)
        assert platform.adctl("psql", "auth", "-c", "CREATE TABLE later AS SELECT 1 AS number").returncode == 0
        assert "the disk accepts writes again" in platform.paths.log("adctl").read_text()
    finally:
        assert platform.adctl("down").returncode == 0
    wait_until(lambda: not platform.members())


@on_small_disk(60)
def test_start_on_a_full_disk_is_refused_without_traceback(small_disk: Path) -> None:
    platform = Platform(small_disk / "platform")
    platform.paths.make()
    Filler(small_disk).fill()
    refused = platform.up()
    assert refused.returncode == 1
    assert "No space left on device" in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr


def test_logs_print_one_process_or_all(running: Platform) -> None:
    assert "serving" in running.adctl("logs", "auth-service").stdout
    assert "auth-service | serving" in " ".join(running.adctl("logs").stdout.split())
    unknown = running.adctl("logs", "nobody")
    assert unknown.returncode == 1
    assert "campaign-service" in unknown.stderr


def test_failed_job_exits_with_code_1(running: Platform) -> None:
    failed = running.adctl("jobs", "run", "sync-stats")
    assert failed.returncode == 1
    assert "POST /jobs/sync-stats answered 5" in failed.stderr  # the fake has no such method; the token passed
    unknown = running.adctl("jobs", "run", "nothing")
    assert unknown.returncode == 1
    assert ", ".join(sorted(jobs.find())) in unknown.stderr


def test_reset_is_refused_while_the_platform_runs(running: Platform) -> None:
    refused = running.adctl("reset", "--yes")
    assert refused.returncode == 1
    assert "adctl down" in refused.stderr
    assert running.paths.dev_json.exists()


def test_taken_port_error_names_the_holder(running: Platform, tmp_path: Path) -> None:
    other = {**running.environment, "ADPLATFORM_HOME": str(tmp_path)}
    command = running.command("up", "--detach", "--port", str(running.port))
    refused = subprocess.run(command, env=other, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert f"port {running.port} is taken by envoy (pid " in refused.stderr
    assert "--port" in refused.stderr


def test_data_survives_down_and_no_process_does(running: Platform) -> None:
    with redis.Redis.from_url(load(running.paths.home).redis_url()) as client:
        client.set("kept", "8")
    running.adctl("psql", "auth", "-c", "CREATE TABLE more AS SELECT 9 AS number")
    stopped = running.adctl("down")
    assert stopped.returncode == 0, stopped.stderr
    assert running.members() == []
    assert running.adctl("status").returncode == 3
    assert "not running" in running.adctl("down").stdout
    assert running.up().returncode == 0
    with redis.Redis.from_url(load(running.paths.home).redis_url()) as client:
        assert client.get("kept") == b"8"
    assert "9" in running.adctl("psql", "auth", "-tc", "SELECT number FROM more").stdout


def test_killed_supervisor_leaves_no_process_and_no_damaged_data(running: Platform) -> None:
    running.adctl("psql", "auth", "-c", "CREATE TABLE last AS SELECT 11 AS number")
    supervisor = running.status()["pid"]
    assert len(running.members()) > 15  # the services' deaf workers among them
    os.kill(supervisor, signal.SIGKILL)
    assert "it was killed" in running.adctl("status").stdout
    wait_until(lambda: not running.members())
    assert running.up().returncode == 0
    assert "11" in running.adctl("psql", "auth", "-tc", "SELECT number FROM last").stdout


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGHUP])
def test_signal_to_a_foreground_platform_stops_every_process(platform: Platform, ending: signal.Signals) -> None:
    control.stop(platform.paths)
    command = platform.command("up", "--port", str(platform.port))
    with subprocess.Popen(command, env=platform.environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "The platform is up" in line:
                break
        process.send_signal(ending)
        assert process.wait(20) == 0
    assert platform.members() == []


def test_missing_service_module_is_named(platform: Platform) -> None:
    control.stop(platform.paths)
    main = Path(platform.environment["PYTHONPATH"]) / "campaign_service" / "__main__.py"
    hidden = main.rename(main.with_suffix(".hidden"))
    failed = platform.up()
    hidden.rename(main)
    assert failed.returncode == 1
    assert "there is no module campaign_service.__main__" in failed.stderr
    assert platform.members() == []


def test_reset_deletes_the_state_folder(platform: Platform, tmp_path: Path) -> None:
    control.stop(platform.paths)
    assert platform.adctl("reset", "--yes").returncode == 0
    assert not platform.paths.home.exists()
    assert "nothing to delete" in platform.adctl("reset").stdout
    strange = {**platform.environment, "ADPLATFORM_HOME": str(tmp_path)}
    refused = subprocess.run(platform.command("reset", "--yes"), env=strange, capture_output=True, check=False)
    assert refused.returncode == 1
    assert tmp_path.exists()
