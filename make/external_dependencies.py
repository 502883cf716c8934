"""Prints what the workspace's packages need from the package index, one requirement a line."""

import tomllib
from pathlib import Path


def main() -> None:
    """Reads every package's pyproject.toml."""
    found: set[str] = set()
    for project in Path(__file__).parents[1].glob("*/pyproject.toml"):
        for requirement in tomllib.loads(project.read_text())["project"]["dependencies"]:
            if not requirement.startswith("adplatform-"):
                found.add(requirement)
    print("\n".join(sorted(found)))


if __name__ == "__main__":
    main()
