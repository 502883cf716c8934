"""The source tree of the platform, and the processes that a change in it affects."""

import ast
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from adctl.errors import UserError
from adctl.platform.processes import GATEWAY, GATEWAY_CONFIGURATION, SANDBOX_SERVER, SCHEDULER_PROCESS
from adctl.state import SERVICES, find_workspace
from adctl.supervision.logs import error_line

_GENERATE_TIMEOUT_S = 120.0
# Set if adctl itself runs under `make`; they would join an inner `make` to the outer one's jobs.
_MAKE_VARIABLES = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")


@dataclass(frozen=True)
class Workspace:
    """A checkout of the tree, by its root folder."""

    root: Path

    @classmethod
    def containing(cls, folder: Path) -> "Workspace":
        """Return the workspace that contains the folder; UserError if none does."""
        root = find_workspace(folder)
        if root is None:
            raise UserError(f"--reload watches the source tree, and {folder} is in none")
        return cls(root)

    def sources(self) -> Mapping[Path, tuple[str, ...]]:
        """Return the folders to watch, each with the processes that run its code."""
        libraries = (*SERVICES, SCHEDULER_PROCESS)
        folders = {
            **{self.root / service / "src": (service,) for service in SERVICES},
            self.root / "libs" / "src": libraries,
            self.root / "protos": (*libraries, GATEWAY_CONFIGURATION, GATEWAY),
            self.root / "gateway" / "src": (GATEWAY_CONFIGURATION, GATEWAY),
            self.root / "dev" / "src" / "adsandbox": (SANDBOX_SERVER,),
        }
        return {folder: names for folder, names in folders.items() if folder.is_dir()}

    def affected(self, path: Path) -> tuple[str, ...]:
        """Return the processes that a change of the file affects."""
        for folder, names in self.sources().items():
            if path.is_relative_to(folder):
                return names if folder.name != "protos" or path.suffix == ".proto" else ()
        return ()

    def name(self, path: Path) -> str:
        """Return a file's path from the root."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def generate_contract(self) -> None:
        """Generate the contract's package from the .proto files; UserError with the first error."""
        environment = {name: value for name, value in os.environ.items() if name not in _MAKE_VARIABLES}
        try:
            done = subprocess.run(
                ["make", "--no-print-directory", "protos"],  # noqa: S607  # the user's make
                cwd=self.root,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_GENERATE_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(f"the contract cannot be generated: {error}") from None
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).splitlines()
            named = next((line.strip() for line in lines if ".proto:" in line), "") or error_line(lines)
            raise UserError(f"the contract cannot be generated: {named}")


def syntax_errors(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the Python files that cannot be parsed, each with the reason."""
    found = {}
    for path in paths:
        if path.suffix == ".py" and path.is_file():
            try:
                ast.parse(path.read_bytes())
            except (SyntaxError, ValueError) as error:
                line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
                found[path] = f"{line}: {error.msg if isinstance(error, SyntaxError) else error}"
    return found
