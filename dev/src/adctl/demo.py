"""`adctl demo`: the journey, step by step."""

import time

from rich.console import Console

from adctl.children import ChildError
from adctl.client import Refused
from adctl.journey import Journey, StepFailed
from adctl.state import State


def run(state: State, console: Console) -> None:
    """Runs and prints every step; ChildError naming the step that went wrong."""
    for number, step in enumerate(Journey(state).steps(), start=1):
        console.print(f"[bold]{number}[/] {step.title}", highlight=False)
        began = time.monotonic()
        try:
            lines = step.run()
        except (StepFailed, Refused, ChildError) as error:
            raise ChildError(f"step {number} ({step.title}): {error}") from error
        for line in lines:
            console.print(f"    {line}", highlight=False, markup=False, soft_wrap=True)
        console.print(f"    [green]✓[/] [dim]{time.monotonic() - began:.1f} s[/]", highlight=False)
