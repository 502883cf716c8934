"""The state folder and the console of all commands."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from adctl.state import Paths, State, find_home, load

console = Console()

GatewayPort = Annotated[int, typer.Option("--port", min=1, max=65535, help="The gateway's port.")]


def current_paths() -> Paths:
    """Return the paths of the state folder that ADPLATFORM_HOME or the current directory selects."""
    return Paths(find_home(Path.cwd(), os.environ))


def current_state() -> State:
    """Return the state of that folder; StateError where no platform was ever started there."""
    return load(current_paths().home)


def print_plain(text: str) -> None:
    """Print a line without markup, highlighting or wrapping, for text from outside of adctl."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)
