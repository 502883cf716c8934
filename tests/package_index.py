"""A package index on loopback: empty wheels with the names and requirements of real packages, and the real uv."""

import hashlib
import importlib.metadata
import re
import stat
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# Later than any release of any package.
NEWER = "99999.0"
_ENTRY = re.compile(r"^([\w.-]+)(?:\[[\w,-]+])?==(\S+)( ; .+?)?(?: \\)?$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One entry of a lock, with its environment marker, if any."""

    name: str
    version: str
    marker: str = ""


def entries(lock: str) -> list[Entry]:
    return [Entry(name, version, (marker or "").rstrip(" \\")) for name, version, marker in _ENTRY.findall(lock)]


def metadata(name: str, version: str) -> str:
    """A package's metadata, with the extras and requirements of the installed package of that name, if any."""
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    try:
        installed = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return "\n".join(lines) + "\n"
    for key in ("Provides-Extra", "Requires-Dist"):
        lines += [f"{key}: {value}" for value in installed.get_all(key) or ()]
    return "\n".join(lines) + "\n"


@dataclass
class PackageIndex:
    """A folder in the layout of the Simple Repository API (PEP 503)."""

    folder: Path
    url: str = ""
    requested: list[str] = field(default_factory=list)

    def add_empty(self, name: str, version: str) -> None:
        stem = f"{name.replace('-', '_').replace('.', '_')}-{version}"
        self._add(
            name,
            f"{stem}-py3-none-any.whl",
            {
                f"{stem}.dist-info/METADATA": metadata(name, version).encode(),
                f"{stem}.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
                f"{stem}.dist-info/RECORD": b"",
            },
        )

    def add_installed_uv(self) -> None:
        """Packs the uv of this environment as a wheel again."""
        uv = importlib.metadata.distribution("uv")
        tag = re.findall(r"^Tag: (.+)$", uv.read_text("WHEEL") or "", re.MULTILINE)[0]
        files: dict[str, bytes] = {}
        for file in uv.files or ():
            if file.suffix != ".pyc":
                name = str(file) if ".." not in file.parts else f"uv-{uv.version}.data/scripts/{file.name}"
                files[name] = Path(str(file.locate())).read_bytes()
        self._add("uv", f"uv-{uv.version}-{tag}.whl", files)

    def lock(self, wanted: list[Entry]) -> str:
        """A lock of these entries, with the hashes of this index's wheels."""
        return "".join(
            f"{entry.name}=={entry.version}{entry.marker} \\\n    --hash=sha256:{self._hash(entry)}\n"
            for entry in wanted
        )

    def break_downloads(self, name: str) -> None:
        """Truncates a package's wheels, as an interrupted download does."""
        for wheel in self._project(name).glob("*.whl"):
            wheel.rename(wheel.with_suffix(".whole"))
            wheel.write_bytes(wheel.with_suffix(".whole").read_bytes()[:100])

    def repair_downloads(self, name: str) -> None:
        for whole in self._project(name).glob("*.whole"):
            whole.rename(whole.with_suffix(".whl"))

    def replace(self, name: str) -> None:
        """Replaces the wheels under the same names, as a tampered release does."""
        for wheel in self._project(name).glob("*.whl"):
            with zipfile.ZipFile(wheel, "a") as changed:
                changed.writestr("tampered.py", b"")

    def _hash(self, entry: Entry) -> str:
        (wheel,) = self._project(entry.name).glob(f"*-{entry.version}-*.whl")
        return hashlib.sha256(wheel.read_bytes()).hexdigest()

    def _project(self, name: str) -> Path:
        return self.folder / "simple" / re.sub(r"[-_.]+", "-", name).lower()

    def _add(self, name: str, filename: str, files: dict[str, bytes]) -> None:
        project = self._project(name)
        project.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(project / filename, "w") as wheel:
            for path, content in files.items():
                entry = zipfile.ZipInfo(path)
                entry.external_attr = (stat.S_IFREG | (0o755 if "/scripts/" in path else 0o644)) << 16
                wheel.writestr(entry, content)
        links = "".join(f'<a href="{found.name}">{found.name}</a>\n' for found in sorted(project.glob("*.whl")))
        (project / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")


@contextmanager
def serving(index: PackageIndex) -> Iterator[PackageIndex]:
    """Serves an index during the block, and records the requests."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(index.folder))  # type: ignore[arg-type] # socketserver's own

        def log_message(self, format: str, *arguments: object) -> None:
            index.requested.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index.url = f"http://127.0.0.1:{server.server_port}/simple"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()
