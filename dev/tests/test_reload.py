"""`adctl up --reload`: the processes that a change of the source restarts."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adctl import ports
from adctl.platform.reload import examine
from adctl.platform.status import find
from adctl.platform.workspace import Workspace
from adctl.state import SERVICES, Paths
from adctl.supervision.process import Phase, ProcessView

pytestmark = pytest.mark.xdist_group("adctl")

HERE = Path(__file__).parent
GENERATED = "generated"
MAKEFILE = f"""
.PHONY: protos
protos:
	@! grep -Hn nonsense protos/a.proto 1>&2
	@echo generated >> {GENERATED}
"""


class Tree:
    """A source tree with fake services, and the platform that runs from it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = Paths(root / ".adplatform")
        for service in SERVICES:
            package = root / service / "src" / service.replace("-", "_")
            package.mkdir(parents=True)
            (package / "__init__.py").touch()
            (package / "__main__.py").write_text("import fake_service\nfake_service.main()\n")
        (root / "libs" / "src").mkdir(parents=True)
        shutil.copy(HERE / "fakes" / "fake_service.py", root / "libs" / "src")
        (root / "protos").mkdir()
        (root / "protos" / "a.proto").write_text('syntax = "proto3";\n')
        (root / "Makefile").write_text(MAKEFILE)

    def source(self, service: str) -> Path:
        return self.root / service / "src" / service.replace("-", "_") / "__main__.py"

    def adctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        folders = [self.root / "libs" / "src", *(self.root / service / "src" for service in SERVICES)]
        environment = {
            **os.environ,
            "ADPLATFORM_HOME": str(self.paths.home),
            "PYTHONPATH": ":".join(map(str, folders)),
        }
        command = [sys.executable, "-m", "adctl", *arguments]
        return subprocess.run(
            command, env=environment, cwd=self.root, capture_output=True, text=True, timeout=90, check=False
        )

    def views(self) -> dict[str, ProcessView]:
        running = find(self.paths)
        assert running is not None
        return {view.name: view for view in running.snapshot.processes}

    def pids(self) -> dict[str, int | None]:
        return {name: view.pid for name, view in self.views().items() if not view.once}

    def reported(self) -> str:
        return self.paths.log("adctl").read_text()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_change_affects_the_processes_that_run_its_code(tree: Tree) -> None:
    (tree.root / "gateway" / "src").mkdir(parents=True)
    (tree.root / "dev" / "src" / "adsandbox").mkdir(parents=True)
    affected = Workspace(tree.root).affected
    assert affected(tree.source("auth-service")) == ("auth-service",)
    assert set(affected(tree.root / "libs" / "src" / "a.py")) == {*SERVICES, "scheduler"}
    assert set(affected(tree.root / "protos" / "a.proto")) == {*SERVICES, "scheduler", "gateway-config", "gateway"}
    assert affected(tree.root / "gateway" / "src" / "a.lua") == ("gateway-config", "gateway")
    assert affected(tree.root / "dev" / "src" / "adsandbox" / "a.py") == ("sandboxes",)
    assert affected(tree.root / "protos" / "README.md") == affected(tree.root / "Makefile") == ()


def test_file_that_cannot_be_parsed_reloads_nothing(tree: Tree) -> None:
    broken, good = tree.source("auth-service"), tree.source("pixel-service")
    broken.write_text("ok = 1\ndef\n")
    change = examine(Workspace(tree.root), {broken, good})
    assert change.processes == ("pixel-service",)
    assert change.messages[0].startswith(
        "auth-service/src/auth_service/__main__.py:2: invalid syntax; running processes are not"
    )


def test_contract_is_generated_before_its_users_reload(tree: Tree) -> None:
    change = examine(Workspace(tree.root), {tree.root / "protos" / "a.proto"})
    assert (tree.root / GENERATED).exists()
    assert "gateway" in change.processes


def test_contract_that_cannot_be_generated_reloads_nothing_and_names_the_line(tree: Tree) -> None:
    contract = tree.root / "protos" / "a.proto"
    contract.write_text('syntax = "proto3";\nnonsense\n')
    change = examine(Workspace(tree.root), {contract})
    assert change.processes == ()
    assert "cannot be generated: protos/a.proto:2:nonsense" in change.messages[0]


def test_reload_outside_a_source_tree_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "adctl", "up", "--reload"]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert "--reload watches the source tree" in refused.stderr


def wait_until(condition: Callable[[], object], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def reloading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    made = Tree(tmp_path_factory.mktemp("tree"))
    started = made.adctl("up", "--detach", "--reload", "--port", str(ports.free_port()))
    assert started.returncode == 0, started.stdout + started.stderr
    yield made
    assert made.adctl("down").returncode == 0


def restarted(tree: Tree, before: dict[str, int | None], *, are: set[str]) -> bool:
    """Whether exactly these processes have another pid and all are ready."""
    views = {name: view for name, view in tree.views().items() if not view.once}
    return {name for name, view in views.items() if view.pid != before[name]} == are and {
        view.phase for view in views.values()
    } == {Phase.READY}


def test_changed_service_alone_restarts(reloading: Tree) -> None:
    before = reloading.pids()
    with reloading.source("campaign-service").open("a") as file:
        file.write("# changed\n")
    wait_until(lambda: restarted(reloading, before, are={"campaign-service"}))
    assert "campaign-service is reloaded after" in reloading.reported()


def test_changed_library_restarts_all_services(reloading: Tree) -> None:
    before = reloading.pids()
    with (reloading.root / "libs" / "src" / "fake_service.py").open("a") as file:
        file.write("# changed\n")
    wait_until(lambda: restarted(reloading, before, are={*SERVICES, "scheduler"}))


def test_changed_contract_is_generated_and_restarts_services_and_gateway(reloading: Tree) -> None:
    before = reloading.pids()
    with (reloading.root / "protos" / "a.proto").open("a") as file:
        file.write("// changed\n")
    wait_until(lambda: restarted(reloading, before, are={*SERVICES, "scheduler", "gateway"}))
    assert (reloading.root / GENERATED).exists()


def test_service_whose_new_code_fails_is_reported_and_starts_at_the_next_change(reloading: Tree) -> None:
    source = reloading.source("auth-service")
    good, before = source.read_text(), reloading.pids()
    source.write_text("raise KeyError('the cause')\n")
    failed = "auth-service does not start: KeyError: 'the cause'; the next change starts it again"
    wait_until(lambda: failed in reloading.reported())
    wait_until(lambda: reloading.views()["auth-service"].phase is Phase.FAILED)
    source.write_text(good)
    wait_until(lambda: restarted(reloading, before, are={"auth-service"}))
    assert reloading.reported().count("does not start") == 1
