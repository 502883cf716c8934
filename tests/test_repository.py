"""Rules for every folder of the workspace that no linter checks."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from make.affected import affects, changed_since

from adlib.db.releases import needed_release
from adlib.release import RELEASE
from adsandbox.networks import BILLING_CURRENCIES
from campaign_service.networks import KNOWN
from campaign_service.networks.protocol import Network

ROOT = Path(__file__).parents[1]
SERVICES = ("auth", "campaign", "payment", "publisher", "analytics", "pixel")
WITH_A_DATABASE = tuple(name for name in SERVICES if name != "analytics")
every_service = pytest.mark.parametrize("service", SERVICES)


def modules(service: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / f"{service}-service" / "src").rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text(), str(path))


def names_of_os(node: ast.AST) -> set[str]:
    """The names of the module `os` that a node uses."""
    if isinstance(node, ast.ImportFrom) and node.module == "os":
        return {name.name for name in node.names}
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
        return {node.attr}
    return set()


def is_migration(path: Path) -> bool:
    return path.suffix in (".sql", ".py") and not path.name.endswith((".rollback.sql", "__init__.py"))


def tracked() -> list[Path]:
    command = ["git", "ls-files", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


@every_service
def test_services_have_the_same_shape(service: str) -> None:
    package = Path("src") / f"{service}_service"
    expected = ["Dockerfile", "Makefile", "README.md", "pyproject.toml", "skaffold.yaml", "tests"]
    expected += [str(package / name) for name in ("__init__.py", "__main__.py", "config.py", "py.typed")]
    if service in WITH_A_DATABASE:
        expected.append(str(package / "migrations"))
    folder = ROOT / f"{service}-service"
    assert [name for name in expected if not (folder / name).exists()] == []


@every_service
def test_only_config_and_the_composition_root_read_the_environment(service: str) -> None:
    environment = {"environ", "environb", "getenv", "getenvb"}
    readers = {path for path, tree in modules(service) for node in ast.walk(tree) if names_of_os(node) & environment}
    assert [path for path in readers if path.name not in ("config.py", "__main__.py")] == []


@pytest.mark.parametrize("service", WITH_A_DATABASE)
def test_service_with_a_database_passes_its_migrations_to_its_commands(service: str) -> None:
    """Without them, a service of an older release would start on a database that needs newer code."""
    (tree,) = (tree for path, tree in modules(service) if path.name == "__main__.py" and len(path.parts) == 4)
    (call,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("service.main", "main")
    )
    assert {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}["migrations"] == "MIGRATIONS"


def test_every_migration_states_the_release_it_runs_with() -> None:
    folders = [ROOT / "libs/src/adlib/migrations", *ROOT.glob("*-service/src/*/migrations")]
    migrations = [path for folder in folders for path in sorted(folder.rglob("*")) if is_migration(path)]
    assert len(migrations) > 30
    # With a later number, this release itself could not run.
    assert [path.name for path in migrations if needed_release(path) > RELEASE] == []


@every_service
def test_every_migration_has_a_rollback(service: str) -> None:
    folder = ROOT / f"{service}-service" / "src" / f"{service}_service" / "migrations"
    names = {path.name for path in folder.rglob("*.sql")}
    forward = {name for name in names if not name.endswith(".rollback.sql")}
    assert bool(forward) == (service in WITH_A_DATABASE)
    assert {name.removesuffix(".sql") + ".rollback.sql" for name in forward} <= names


@every_service
def test_skaffold_builds_the_services_image_on_the_shared_base(service: str) -> None:
    config = yaml.safe_load((ROOT / f"{service}-service" / "skaffold.yaml").read_text())
    (artifact,) = config["build"]["artifacts"]
    dockerfile = (ROOT / artifact["docker"]["dockerfile"]).read_text()
    assert artifact["image"] == f"{service}-service"
    assert [f"ARG {needed['alias']}={needed['image']}:local" in dockerfile for needed in artifact["requires"]] == [
        True
    ] * 2


@pytest.mark.parametrize(
    ("changed", "is_affected"),
    [
        ("auth-service/src/x.py", True),
        (".github/workflows/auth-service.yml", True),
        ("protos/adplatform/x.proto", True),
        ("make/base.Dockerfile", True),
        ("pixel-service/src/x.py", False),
        ("docs/decisions/0001.md", False),
        ("bench/README.md", False),
    ],
)
def test_pipeline_runs_for_changes_of_its_service_and_of_shared_folders(changed: str, is_affected: bool) -> None:
    assert affects(["README.md", changed], "auth-service") == is_affected
    assert affects([changed], ".")


@every_service
def test_every_service_has_a_pipeline(service: str) -> None:
    pipeline = yaml.safe_load((ROOT / ".github" / "workflows" / f"{service}-service.yml").read_text())
    (job,) = pipeline["jobs"].values()
    assert job == {"uses": "./.github/workflows/folder.yml", "with": {"folder": f"{service}-service"}}


def test_all_pipelines_run_when_the_previous_commit_is_unknown() -> None:
    assert changed_since("0" * 40) is None


def test_actions_are_pinned_by_commit() -> None:
    used = [
        match
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for match in re.findall(r"uses: (?!\./)(.*)", path.read_text())
    ]
    assert used
    assert [use for use in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", use)] == []


def test_skaffold_lists_every_service_and_nothing_else() -> None:
    root = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    assert set(root) == {"apiVersion", "kind", "metadata", "requires"}
    assert [entry["path"] for entry in root["requires"]] == [f"{name}-service/skaffold.yaml" for name in SERVICES]


def test_every_test_folder_is_run() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(settings["tool"]["pytest"]["ini_options"]["testpaths"])
    folders = {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("*/pyproject.toml")}
    assert listed == {f"{folder}/tests" for folder in folders} | {"tests"}


def test_nothing_generated_and_no_other_lock_is_tracked() -> None:
    generated = re.compile(r"(_pb2(_grpc)?\.pyi?|\.(pb|whl|pyc)|/(uv|poetry|Pipfile)\.lock|/package-lock\.json)$")
    assert [path for path in tracked() if generated.search(str(path))] == []


def test_no_tracked_file_names_a_package_index_or_a_local_path() -> None:
    index = r"(?:py[p]i\.org|python[h]osted\.org|registry\.np[m]js|--(?:extra-)?index-url)"
    place = r"(?<![\w.:/~$}\-])/(?:work|root|home|Users|opt/pypi)/\w"
    forbidden = re.compile(f"{index}|{place}")
    found = []
    for path in tracked():
        if path == Path(__file__):
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in forbidden.finditer(text)]
    assert found == []


def test_lock_pins_everything_by_hash_and_names_no_index() -> None:
    text = (ROOT / "requirements" / "lock.txt").read_text()
    entries = [entry for entry in text.replace("\\\n", " ").splitlines() if entry and not entry.strip().startswith("#")]
    pinned = re.compile(r"[\w.-]+(\[[\w,-]+])?==\S+( ; [^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert entries
    assert [entry[:80] for entry in entries if not pinned.fullmatch(entry)] == []
    assert "://" not in text


def test_wallet_currencies_of_the_local_platform_are_those_of_its_networks() -> None:
    """`make up` derives WALLET_CURRENCIES from the networks' sandboxes, whose currencies the adapters share."""
    clients = [import_module(f"campaign_service.networks.{code.lower()}.client") for code in KNOWN]
    networks = [made for client in clients for made in vars(client).values() if is_network(made)]
    assert {network.code for network in networks} == set(KNOWN)
    assert {network.code: network.currency_code for network in networks} == BILLING_CURRENCIES


def is_network(value: object) -> bool:
    return isinstance(value, type) and Network in value.__mro__[1:]
