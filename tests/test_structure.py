"""The limits on modules, functions and constructors, and the closed list of file names."""

import ast
import tomllib
from pathlib import Path

import pytest
from make import structure


def excesses(source: str, lines: int = 1) -> list[str]:
    return [f"{key}: {message}" for key, message in structure.sizes("x.py", ast.parse(source), lines)]


def test_tree_keeps_the_limits() -> None:
    assert structure.check([], tomllib.loads(structure.SETTINGS.read_text())) == []


def test_long_module_is_found() -> None:
    assert excesses("", 400) == []
    assert excesses("", 401) == ["x.py: 401 lines → at most 400"]


def test_long_method_is_found_by_its_qualified_name() -> None:
    body = "        pass\n"
    assert excesses("class A:\n    def f(self):\n" + body * 59) == []
    assert excesses("class A:\n    def f(self):\n" + body * 60) == ["x.py:A.f: 61 lines → at most 60"]


def test_wide_constructor_is_found_and_a_wide_method_is_not() -> None:
    parameters = ", ".join(f"p{number}" for number in range(7))
    assert excesses(f"class A:\n    def __init__(self, {parameters}): ...") == []
    assert excesses(f"class A:\n    def f(self, {parameters}, *, more): ...") == []
    assert excesses(f"class A:\n    def __init__(self, {parameters}, *, more): ...") == [
        "x.py:A.__init__: 8 parameters → at most 7"
    ]


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        ("config.py", True),
        ("permission_rules.py", True),
        ("payments/service.py", True),
        ("payments/helpers.py", False),
        ("payments/client.py", False),
        ("payments/clients/auth.py", True),
        ("providers/stripe/client.py", True),
        ("providers/stripe/webhooks.py", True),
        ("providers/stripe/parser.py", False),
        ("migrations/steps.py", True),
    ],
)
def test_file_names_are_a_closed_list(path: str, is_allowed: bool) -> None:
    assert structure.is_file_name_allowed(path) is is_allowed


def test_exceptions_need_a_reason_and_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("pass\n" * 401)
    monkeypatch.setattr(structure, "ROOT", tmp_path)
    monkeypatch.setattr(structure, "tracked", lambda: ["a.py"])
    assert structure.check([], {}) == ["a.py: 401 lines → at most 400"]
    assert structure.check([], {"a": {"a.py": "generated"}}) == []
    assert structure.check([], {"a": {"a.py": " "}}) == ["a.py: an exception needs a reason"]
    assert structure.check([], {"a": {"a.py": "generated", "b.py": "moved"}}) == [
        "b.py: the exception is not needed any more"
    ]
