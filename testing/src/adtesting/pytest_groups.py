"""A pytest plugin: runs the tests of an xdist group on one worker, so that it builds its platform or its wheels once.

pytest-xdist 3.8 appends a test's group to its node id, which pytest 9.2 recomputes: `--dist loadgroup` then spreads
each group over all workers. This scheduler reads the groups from the test files, where a module states its group as
`pytestmark = pytest.mark.xdist_group("NAME")`.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

_GROUP = re.compile(r"^pytestmark = pytest\.mark\.xdist_group\(\"([\w-]+)\"\)", re.MULTILINE)


@cache
def group_of(file: Path) -> str:
    """The xdist group that the module states; empty if it states none."""
    found = _GROUP.search(file.read_text())
    return found[1] if found else ""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The scheduler of `--dist loadgroup`; xdist's own for other distributions."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            return group_of(config.rootpath / nodeid.split("::")[0]) or nodeid

    return GroupScheduling(config, log)
