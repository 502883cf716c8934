"""The tests of a group run on one worker."""

import subprocess
import sys
from pathlib import Path

from adtesting.pytest_groups import group_of

MODULE = """
import os
import pytest
{mark}
@pytest.mark.parametrize("number", range(8))
def test_worker(number):
    with open({log!r}, "a") as log:
        print({name!r}, os.environ["PYTEST_XDIST_WORKER"], file=log)
"""


def test_group_runs_on_one_worker(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for name in ("one", "two"):
        mark = 'pytestmark = pytest.mark.xdist_group("same")'
        (tmp_path / f"test_{name}.py").write_text(MODULE.format(mark=mark, log=str(log), name=name))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "adtesting.pytest_groups", "-n", "2", "--dist", "loadgroup"]
    ran = subprocess.run([*command, "."], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    workers: dict[str, set[str]] = {}
    for line in log.read_text().splitlines():
        name, worker = line.split()
        workers.setdefault(name, set()).add(worker)
    assert len(workers["one"]) == 1
    assert workers["one"] == workers["two"]


def test_every_mark_of_a_group_is_found() -> None:
    root = Path(__file__).parents[2]
    marked = [path for path in root.glob("*/tests/**/test_*.py") if "mark.xdist_group(" in path.read_text()]
    marked += [path for path in root.glob("tests/test_*.py") if "mark.xdist_group(" in path.read_text()]
    marked.remove(Path(__file__))
    assert len(marked) > 10
    assert [path for path in marked if not group_of(path)] == []
