"""Checks that a store function whose statement does not name the organization says so in its own name.

A tenant's table has a column `organization_id` in the service's `tables.py`. A statement names the organization when it
equates that column with something other than the same column of another table, or binds a parameter whose name contains
"organization". Inserts write the column, so they are exempt. A function that runs any other statement on such a table
ends in `_any_tenant`: it reaches rows of every organization, and the call shows it. An unneeded suffix is found too.

Usage: python make/tenancy.py [SERVICE_FOLDER…]    the services in CHECKED without arguments
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUFFIX = "_any_tenant"
# Services whose stores are clean; `make lint` fails on these.
CHECKED: tuple[str, ...] = (
    "analytics-service",
    "auth-service",
    "campaign-service",
    "payment-service",
    "pixel-service",
    "publisher-service",
)  # fmt: skip

# Functions that need no suffix although the statement lacks the organization, or have one although it names it.
EXCEPTIONS = {
    "payment-service/src/payment_service/ledger/store.py:lock": "an account's id is derived from its organization",
    "payment-service/src/payment_service/ledger/store.py:available": "an account's id is derived from its organization",
    "payment-service/src/payment_service/ledger/store.py:expired_any_tenant": "its table has no organization",
    "payment-service/src/payment_service/ledger/store.py:pending_any_tenant": "it selects the organization's column",
    "payment-service/src/payment_service/debts/store.py:earners": "the spent account is of one organization",
    "payment-service/src/payment_service/debts/store.py:reserved": "a publisher is one organization's",
}

_COLUMN = "organization_id"
_INSERTS = {"insert", "upsert"}


def tenant_tables(tables: ast.Module) -> set[str]:
    """The variables of `tables.py` that hold a table with an organization."""
    found = set()
    for node in tables.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            columns = {
                argument.value
                for call in ast.walk(node.value)
                if isinstance(call, ast.Call)
                for argument in call.args[:1]
                if isinstance(argument, ast.Constant)
            }
            if _COLUMN in columns:
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


class Statements:
    """The values that a store's module defines, and which of them are statements without an organization."""

    def __init__(self, module: ast.Module, tables: set[str]) -> None:
        self._tables = tables
        self._values: Mapping[str, ast.expr] = {
            target.id: node.value
            for node in module.body
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }

    def nodes(self, expression: ast.AST, seen: frozenset[str] = frozenset()) -> Iterator[ast.AST]:
        """The nodes of an expression and of the module's values that it uses."""
        for node in ast.walk(expression):
            yield node
            if isinstance(node, ast.Name) and node.id in self._values and node.id not in seen:
                yield from self.nodes(self._values[node.id], seen | {node.id})

    def are_tenantless(self, expression: ast.expr) -> bool:
        """Whether an expression is a statement on a tenant's table that does not name the organization."""
        nodes = list(self.nodes(expression))
        if not any(isinstance(node, ast.Name) and node.id in self._tables for node in nodes):
            return False
        if any(_called(node) in _INSERTS for node in nodes):
            return False
        return not any(_names_organization(node, self) for node in nodes)

    def run_by(self, function: ast.AST) -> Iterator[tuple[str, ast.expr]]:
        """The statements that a function runs: the module's by name, and those it writes itself."""
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and self._is_query(node):
                yield node.id, self._values[node.id]
            elif isinstance(node, ast.Call) and _called(node) == "Query":
                yield f"line {node.lineno}", node

    def _is_query(self, name: ast.Name) -> bool:
        value = self._values.get(name.id)
        return value is not None and any(_called(node) == "Query" for node in ast.walk(value))


def _called(node: ast.AST) -> str:
    """The name of a called function, without what it belongs to."""
    if not isinstance(node, ast.Call):
        return ""
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _names_organization(node: ast.AST, statements: Statements) -> bool:
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        columns = [isinstance(side, ast.Attribute) and side.attr == _COLUMN for side in sides]
        return isinstance(node.ops[0], ast.Eq) and any(columns) and not all(columns)
    if isinstance(node, ast.Call):
        if _called(node) == "bindparam":
            return any(isinstance(part, ast.Constant) and "organization" in str(part.value) for part in node.args[:1])
        if isinstance(node.func, ast.Attribute) and node.func.attr == "in_":
            return isinstance(node.func.value, ast.Attribute) and node.func.value.attr == _COLUMN
    return False


def check_store(path: str, store: ast.Module, tables: set[str]) -> Iterator[str]:
    """The findings of one store, `path:line: function → …`."""
    statements = Statements(store, tables)
    for function in ast.walk(store):
        if not isinstance(function, ast.FunctionDef) or f"{path}:{function.name}" in EXCEPTIONS:
            continue
        without = sorted({name for name, value in statements.run_by(function) if statements.are_tenantless(value)})
        has_suffix = function.name.endswith(SUFFIX)
        if without and not has_suffix:
            listed = ", ".join(without)
            bare = re.sub(r"_?of_(?:anyone|all)$", "", function.name)
            yield f"{path}:{function.lineno}: {function.name} → {bare}{SUFFIX} ({listed}: no organization)"
        if has_suffix and not without:
            yield f"{path}:{function.lineno}: {function.name} → no suffix: its statements name the organization"


def check_service(folder: str) -> Iterator[str]:
    """The findings of every store of a service."""
    (package,) = (ROOT / folder / "src").glob("*_service")
    tables_file = package / "tables.py"
    if not tables_file.exists():
        return
    tables = tenant_tables(ast.parse(tables_file.read_text()))
    for path in sorted(package.rglob("store.py")):
        yield from check_store(str(path.relative_to(ROOT)), ast.parse(path.read_text()), tables)


def main(arguments: Sequence[str]) -> int:
    """Prints the findings; 1 if there are any."""
    findings = [finding for folder in arguments or CHECKED for finding in check_service(folder.rstrip("/"))]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
