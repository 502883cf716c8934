"""Checks the contract with buf, without a network: lint, format and breaking changes.

buf reads a descriptor set made by protoc instead of the folder, because the contract's imports (google.api,
buf.validate) are not in the tree. The base for breaking changes is the commit BREAKING_BASE, or the merge base with
main, or on main itself the last commit.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import generate

_ROOT = Path(__file__).resolve().parent
_CONFIG = _ROOT / "buf.yaml"
_PACKAGE = "adplatform"


def _run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 - no argument comes from outside
        [program, *arguments], cwd=_ROOT, env=os.environ | environment, capture_output=True, check=False
    )


def _buf(work: Path, *arguments: str) -> str | None:
    """Runs buf and returns its findings, or None."""
    ran = _run(str(Path(sys.executable).with_name("buf")), *arguments, BUF_CACHE_DIR=str(work / "cache"))
    return None if ran.returncode == 0 else (ran.stdout + ran.stderr).decode()


def _git(*arguments: str) -> bytes | None:
    """Runs git and returns its output, or None without git or after an error."""
    program = shutil.which("git")
    ran = _run(program, *arguments) if program else None
    return ran.stdout if ran and ran.returncode == 0 else None


def _commit(name: str) -> str | None:
    found = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    return found.decode().strip() if found else None


def _base() -> str | None:
    """The commit to compare with, or None if there is no earlier one."""
    given = os.environ.get("BREAKING_BASE", "")
    if given.strip("0"):  # pipelines set only zeros for a new branch
        found = _commit(given)
        if not found:
            raise SystemExit(f"BREAKING_BASE is not a commit of this repository: {given}")
        return found
    head = _commit("HEAD")
    for main in ("origin/main", "main"):
        left = _git("merge-base", "HEAD", main)
        if left and left.decode().strip() != head:
            return left.decode().strip()
    return head if _git("status", "--porcelain", "--", _PACKAGE) else _commit("HEAD^")


def _contract_of(commit: str, target: Path) -> bool:
    """Writes the .proto files of the commit below `target`; returns False if it has none."""
    top, prefix = _git("rev-parse", "--show-toplevel"), _git("rev-parse", "--show-prefix")
    if top is None or prefix is None:
        return False
    folder = prefix.decode().strip() + _PACKAGE
    archive = _git("-C", top.decode().strip(), "archive", "--format=zip", commit, "--", folder)
    if archive is None:
        return False
    with ZipFile(BytesIO(archive)) as files:
        files.extractall(target)
    shutil.move(target / folder, target / _PACKAGE)
    return True


def _breaking(work: Path, image: Path) -> str | None:
    base = _base()
    before = work / "before"
    if base is None or not _contract_of(base, before):
        print("buf breaking: no contract before this one to compare with")
        return None
    generate.descriptor_set(before, work, work / "before.binpb", source_info=True)
    return _buf(
        work,
        "breaking",
        str(image),
        "--against",
        str(work / "before.binpb"),
        "--config",
        str(_CONFIG),
        "--path",
        _PACKAGE,
    )


def main() -> None:
    """Runs all checks, prints their findings and exits with 1 if there are any."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        image = work / "image.binpb"
        generate.descriptor_set(_ROOT, work, image, source_info=True)
        found = {
            "lint": _buf(work, "lint", str(image), "--config", str(_CONFIG), "--path", _PACKAGE),
            "format (`buf format -w protos` repairs it)": _buf(work, "format", "--diff", "--exit-code", "."),
            "breaking": _breaking(work, image),
        }
    failed = {check: output for check, output in found.items() if output}
    for check, output in failed.items():
        print(f"buf {check}:\n{output}", file=sys.stderr)
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
