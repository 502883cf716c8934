"""Checks the size of modules, functions and constructors, and the names of the files in a service's features.

structure.toml lists the exceptions, a table a folder, each with its reason. An exception that no file needs is
a finding too, so the list only shrinks.

Usage: python make/structure.py [FOLDER…]
"""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETTINGS = Path(__file__).with_suffix(".toml")

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_CONSTRUCTOR_PARAMETERS = 7

# In the folder of a service, of a feature, and of an outside party (a provider or a network) below a feature.
_FEATURE_FILES = {
    "__init__", "model", "store", "service", "servicer", "consumer", "tasks", "jobs", "messages", "settings"
}  # fmt: skip
# An outside party also has its API, its webhooks, and a module per capability that it offers.
_PARTY_FILES = _FEATURE_FILES | {"client", "webhooks", "deposits", "refunds", "payouts"}
# Folders of modules that are named by what they talk to.
_NAMED_BY_PEER = {"clients"}


def sizes(path: str, tree: ast.Module, lines: int) -> Iterator[tuple[str, str]]:
    """Each excess of a module, as the key of its exception and a message."""
    if lines > MAX_MODULE_LINES:
        yield path, f"{lines} lines → at most {MAX_MODULE_LINES}"
    for name, node in functions(tree):
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > MAX_FUNCTION_LINES:
            yield f"{path}:{name}", f"{length} lines → at most {MAX_FUNCTION_LINES}"
        arguments = node.args
        count = len([*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]) - 1
        if node.name == "__init__" and count > MAX_CONSTRUCTOR_PARAMETERS:
            yield f"{path}:{name}", f"{count} parameters → at most {MAX_CONSTRUCTOR_PARAMETERS}"


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with its qualified name."""
    waiting: list[tuple[str, ast.AST]] = [("", tree)]
    while waiting:
        prefix, parent = waiting.pop()
        for node in ast.iter_child_nodes(parent):
            name = prefix
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{prefix}.{node.name}".lstrip(".")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node
            waiting.append((name, node))


def is_file_name_allowed(path: str) -> bool:
    """Whether a service's module has a name of the closed list; `path` is relative to the service's package."""
    *folders, file = Path(path).parts
    stem = Path(file).stem
    if not folders or folders[0] == "migrations" or _NAMED_BY_PEER & set(folders):
        # At the top, a module that several features share has a name of its own.
        return True
    return stem in (_FEATURE_FILES if len(folders) == 1 else _PARTY_FILES)


def findings(path: str) -> Iterator[tuple[str, str]]:
    """The excesses and the wrong name of one tracked module."""
    source = (ROOT / path).read_text()
    yield from sizes(path, ast.parse(source, path), source.count("\n"))
    folder, *_ = Path(path).parts
    package = f"{folder}/src/{folder.replace('-', '_')}/"
    if (
        folder.endswith("-service")
        and path.startswith(package)
        and not is_file_name_allowed(path.removeprefix(package))
    ):
        yield path, "not a file name of the closed list"


def tracked() -> list[str]:
    """The modules that git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.py"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in names.split("\0") if name and (ROOT / name).is_file()]


def check(under: Sequence[str], exceptions: dict[str, dict[str, str]]) -> list[str]:
    """Messages for what has no exception, for exceptions without a reason, and for those that nothing needs."""
    messages, used = [], set[str]()
    listed = {key: reason for table in exceptions.values() for key, reason in table.items()}
    for path in tracked():
        if under and not path.startswith(tuple(f"{folder}/" for folder in under)):
            continue
        for key, message in findings(path):
            used.add(key)
            if key not in listed:
                messages.append(f"{key}: {message}")
    messages += [f"{key}: an exception needs a reason" for key, reason in listed.items() if not reason.strip()]
    if not under:
        messages += [f"{key}: the exception is not needed any more" for key in listed if key not in used]
    return sorted(messages)


def main(arguments: Sequence[str]) -> int:
    """Prints the findings; 1 if there are any."""
    messages = check([argument.rstrip("/") for argument in arguments], tomllib.loads(SETTINGS.read_text()))
    for message in messages:
        print(message)
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
