"""Each service's wheel, installed into an empty environment with only its declared dependencies, and started there."""

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from jwt.algorithms import OKPAlgorithm
from make.service_lock import service_lock
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from adctl.ports import free_port

ROOT = Path(__file__).parents[1]
SERVICES = ("auth", "campaign", "payment", "publisher", "analytics", "pixel")
SHARED = {"adplatform-protos", "adplatform-libs"}
UV = (sys.executable, "-m", "uv", "--quiet", "--offline")
DEVELOPMENT_TOOLS = {"grpcio-tools", "hatchling", "hypothesis", "import-linter", "mypy", "pip", "pytest", "ruff", "uv"}
BOOT_S = 60

# The wheels and environments are built once, so the tests stay on one worker.
pytestmark = pytest.mark.xdist_group("wheels")
every_service = pytest.mark.parametrize("service", SERVICES)


def run(*command: str | Path) -> str:
    ran = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@dataclass(frozen=True)
class Installed:
    """A virtual environment with one service, `adlib`, the contract and their dependencies."""

    folder: Path
    service: str

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        (found,) = self.folder.glob("lib/python3.*/site-packages")
        return found

    def distribution(self, name: str) -> importlib.metadata.Distribution:
        (found,) = importlib.metadata.distributions(name=name, path=[str(self.packages)])
        return found

    def command(self, *arguments: str) -> list[str]:
        # -I ignores this folder, PYTHONPATH and the user's packages.
        return [str(self.python), "-I", "-m", f"{self.service}_service", *arguments]

    def run(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.python), "-I", "-c", code, *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    def finds(self, *modules: str) -> list[str]:
        """The modules of this list that the environment can import."""
        ran = self.run(
            "import sys; from importlib.util import find_spec; print(*filter(find_spec, sys.argv[1:]))", *modules
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.split()


def declared(installed: Installed) -> set[str]:
    """The service's direct and indirect dependencies, by the metadata installed in the workspace."""
    found: dict[str, set[str]] = {}
    pending = [Requirement(f"adplatform-{installed.service}-service")]
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name in found and requirement.extras <= found[name]:
            continue
        found[name] = found.get(name, set()) | requirement.extras
        local = name.startswith("adplatform-")
        distribution = installed.distribution(name) if local else importlib.metadata.distribution(name)
        for text in distribution.requires or []:
            needed = Requirement(text)
            if not needed.marker or any(needed.marker.evaluate({"extra": extra}) for extra in {"", *found[name]}):
                pending.append(needed)
    return {name for name in found if not name.startswith("adplatform-")}


def link(name: str, packages: Path) -> None:
    """Links the files of the workspace's distribution into another environment, where an installer would copy them."""
    for file in importlib.metadata.distribution(name).files or []:
        if file.parts[0] == "..":  # a script, outside site-packages
            continue
        target = packages / file
        target.parent.mkdir(parents=True, exist_ok=True)
        # Several distributions have a "docs" folder; the last one replaces the others.
        target.unlink(missing_ok=True)
        target.symlink_to(Path(str(file.locate())))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    sources = [ROOT / "protos", ROOT / "libs", *(ROOT / f"{service}-service" for service in SERVICES)]
    for source in sources:
        # A tenth of pip's time.
        run(
            sys.executable,
            "-m",
            "uv",
            "--quiet",
            "--offline",
            "build",
            "--wheel",
            "--no-build-isolation",
            "--out-dir",
            folder,
            source,
        )
    return folder


@pytest.fixture(scope="module")
def install(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Installed]:
    made: dict[str, Installed] = {}

    def make(service: str) -> Installed:
        if service not in made:
            installed = Installed(tmp_path_factory.mktemp(service), service)
            venv.create(installed.folder, with_pip=False, symlinks=True)
            names = ("protos", "libs", f"{service}_service")
            chosen = [path for name in names for path in wheels.glob(f"adplatform_{name}-*.whl")]
            run(*UV, "pip", "install", "--no-deps", "--no-cache", "--python", installed.python, *chosen)
            for name in declared(installed):
                link(name, installed.packages)
            made[service] = installed
        return made[service]

    return make


@every_service
def test_wheel_depends_on_no_other_service(service: str, install: Callable[[str], Installed]) -> None:
    requires = install(service).distribution(f"adplatform-{service}-service").requires or []
    names = {Requirement(text).name for text in requires}
    assert {name for name in names if name.startswith("adplatform-")} == SHARED


@every_service
def test_environment_has_only_declared_packages(service: str, install: Callable[[str], Installed]) -> None:
    installed = install(service)
    run(*UV, "pip", "check", "--python", installed.python)
    other = "campaign" if service == "auth" else "auth"
    # All of these are in the workspace's environment, and none is declared.
    assert installed.finds("pytest", "hatchling", "adctl", f"{other}_service") == []


@every_service
def test_image_gets_its_part_of_the_lock_and_no_development_tool(
    service: str, install: Callable[[str], Installed]
) -> None:
    locked = {entry.name: entry.text for entry in service_lock(f"{service}-service")}
    lock = (ROOT / "requirements" / "lock.txt").read_text()
    assert [name for name, text in locked.items() if f"{text}\n" not in lock or "--hash=sha256:" not in text] == []
    needed = declared(install(service))
    assert needed - set(locked) == set()
    # An edge of the lock may hold for another platform, another Python or another package's extra (httpx[http2]).
    assert set(locked) - needed <= {"async-timeout", "h2", "hpack", "hyperframe", "tzdata"}
    assert set(locked) & DEVELOPMENT_TOOLS == set()


@every_service
def test_wheels_are_built_with_the_lock(service: str) -> None:
    locked = {entry.name for entry in service_lock(f"{service}-service", is_build=True)}
    assert {"hatchling", "grpcio-tools", "mypy-protobuf"} <= locked
    assert locked & {"mypy", "pytest", "psycopg", "redis"} == set()


IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
            print(module.name)
"""


@every_service
def test_every_module_imports_only_declared_packages(service: str, install: Callable[[str], Installed]) -> None:
    ran = install(service).run(IMPORT_ALL, "adlib", f"{service}_service")
    assert ran.returncode == 0, ran.stderr
    assert {"adlib.errors", f"{service}_service.config"} <= set(ran.stdout.split())


def keys(folder: Path, service: str) -> dict[str, str]:
    """Writes the keys that services read, and returns the variables that name the files."""
    own, tokens = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    hook = rsa.generate_private_key(65537, 2048).public_key()
    identity = {**OKPAlgorithm.to_jwk(own.public_key(), as_dict=True), "kid": f"{service}-service"}
    plain = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    contents = {
        "SERVICE_KEY_FILE": own.private_bytes(*plain),
        "SERVICE_KEYS_FILE": json.dumps({"keys": [identity]}).encode(),
        "WISE_WEBHOOK_KEY_FILE": hook.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    ring = folder / "tokens"
    ring.mkdir()
    (ring / "20260101T000000Z.pem").write_bytes(tokens.private_bytes(*plain))
    return {"TOKEN_KEYS_DIR": str(ring), **{name: str(folder / name) for name in contents}}


def environment(folder: Path, service: str, port: int, database: str, redis: str) -> dict[str, str]:
    """The variables of all six services."""
    unused_address = f"127.0.0.1:{free_port()}"
    targets = ("AUTH", "PAYMENT", "PUBLISHER", "CAMPAIGN")
    return {
        "GRPC_PORTS": str(port),
        "HTTP_PORT": str(free_port()),
        "DATABASE_URL": database,
        "REDIS_URL": redis,
        "TRAFFIC_ENGINE_URL": f"http://{unused_address}",
        "TRAFFIC_ENGINE_TOKEN": "token",
        "STRIPE_API_KEY": "sk_test_wheel",
        "STRIPE_WEBHOOK_SECRET": "whsec_wheel",
        "STRIPE_API_BASE": f"http://{unused_address}",
        "WISE_API_URL": f"http://{unused_address}",
        "WISE_API_TOKEN": "token",
        "WISE_PROFILE_ID": "1",
        "PUBLIC_URL": f"http://{unused_address}",
        "CLICK_SIGNING_KEY": "k" * 32,
        "SMTP_URL": f"smtp://{unused_address}",
        "MAIL_FROM": "noreply@example.com",
        "APP_URL": f"http://{unused_address}",
        "WAREHOUSE_PATH": str(folder / "warehouse.duckdb"),
        "HOME": str(folder),
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        **{f"{name}_TARGETS": unused_address for name in targets},
        **keys(folder, service),
    }


@contextmanager
def serving(installed: Installed, settings: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Runs the service in its own environment during the block."""
    with log.open("wb") as sink:
        process = subprocess.Popen(installed.command(), env=settings, cwd=installed.folder, stdout=sink, stderr=sink)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def serves(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Waits until the service reports SERVING; False if it exits or never does."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_reconnect_backoff_ms", 200)]) as channel:
        for _ in range(BOOT_S * 5):
            try:
                answer = HealthStub(channel).Check(HealthCheckRequest(), timeout=1)
                if answer.status == HealthCheckResponse.SERVING:
                    return True
            except grpc.RpcError:
                pass  # the port is not open yet
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
            return False
    return False


@every_service
def test_service_starts_from_its_wheel_and_stops_on_sigterm(
    service: str,
    install: Callable[[str], Installed],
    fresh_database: Callable[[str], str],
    redis_url: str,
    tmp_path: Path,
) -> None:
    installed, port = install(service), free_port()
    settings = environment(tmp_path, service, port, fresh_database(service), redis_url)
    migrate = installed.command("migrate")
    migrated = subprocess.run(
        migrate, env=settings, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=BOOT_S
    )
    assert migrated.returncode == 0, migrated.stderr
    log = tmp_path / "log"
    with serving(installed, settings, log) as process:
        assert serves(port, process), log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
