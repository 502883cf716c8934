"""Prints whether a change affects a folder, `true` or `false`: whether its pipeline has to run.

Usage: python make/affected.py FOLDER COMMIT    compares the working tree with a commit; an unknown commit affects all
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Folders and files that every service is built or tested with.
_SHARED = ("libs/", "protos/", "dev/src/", "testing/", "make/", "requirements/", ".github/workflows/folder.yml")
_SHARED_FILES = {".dockerignore", ".importlinter", "Makefile", "conftest.py", "pyproject.toml"}


def affects(changed: Sequence[str], folder: str) -> bool:
    """Whether the pipeline of the folder has to run for these changed files; that of "." always has."""
    own = (f"{folder}/", f".github/workflows/{folder}.yml", *_SHARED)
    return folder == "." or any(path in _SHARED_FILES or path.startswith(own) for path in changed)


def changed_since(commit: str) -> list[str] | None:
    """The files that differ from a commit; None if this clone does not have it, as after a force push."""
    command = ["git", "diff", "--name-only", "-z", commit, "--"]
    ran = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    return [name for name in ran.stdout.split("\0") if name] if ran.returncode == 0 else None


def main(arguments: Sequence[str]) -> None:
    """Prints the answer as YAML and JSON write it."""
    folder, commit = arguments
    changed = changed_since(commit)
    print(str(changed is None or affects(changed, folder)).lower())


if __name__ == "__main__":
    main(sys.argv[1:])
