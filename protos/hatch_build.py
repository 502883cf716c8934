"""Generates the Python package into the wheel while it is built."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class GenerateHook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling's generic takes a builder config that hooks never see
    """Adds the generated package to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generates the package into a temporary folder and adds it to the wheel."""
        root = Path(self.root)
        sys.path.insert(0, str(root))
        import generate

        self._work = tempfile.TemporaryDirectory()
        target = Path(self._work.name) / "package"
        generate.package(root, Path(self._work.name) / "work", target)
        for name in ("adplatform", "buf"):
            build_data["force_include"][str(target / name)] = name

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes the temporary folder."""
        self._work.cleanup()
