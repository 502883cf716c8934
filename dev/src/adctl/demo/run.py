"""Runs the demo journey for `adctl demo`."""

import time

from rich.console import Console

from adctl.client import Refused
from adctl.demo.journey import Journey, StepFailed
from adctl.errors import UserError
from adctl.state import State


def run(state: State, console: Console) -> None:
    """Run and print every step; UserError naming the step that failed."""
    for number, step in enumerate(Journey(state).steps(), start=1):
        console.print(f"[bold]{number}[/] {step.title}", highlight=False)
        started_at = time.monotonic()
        try:
            lines = step.run()
        except (StepFailed, Refused, UserError) as error:
            raise UserError(f"step {number} ({step.title}): {error}") from error
        for line in lines:
            console.print(f"    {line}", highlight=False, markup=False, soft_wrap=True)
        console.print(f"    [green]✓[/] [dim]{time.monotonic() - started_at:.1f} s[/]", highlight=False)
