"""Kills payment-service, PostgreSQL and Stripe's sandbox at random under load, heals them, and checks every micro.

`make chaos-money` runs it for a minute: python -m tests.chaos_money [--seconds N] [--seed N].
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from adctl.children import forget_grpc_at_fork

SHOPPERS = 6


def chaos(folder: Path, seconds: float, seed: int, *, fsync: bool = False) -> tuple[dict[str, int], list[str]]:
    """Figures to show, and everything that is wrong afterwards."""
    # Not before gRPC has been told to keep out of forks.
    from .chaos_books import judge, settle
    from .chaos_people import Told, shopping
    from .chaos_world import running

    chance, told, stop = random.Random(seed), Told(), threading.Event()
    with running(folder, fsync=fsync) as world:
        threads = shopping(world, told, SHOPPERS, seed, stop)
        try:
            _kill(world, seconds, chance)
        finally:
            stop.set()
            world.heal()
            for thread in threads:
                thread.join(60)
        rounds = settle(world)
        figures, wrong = judge(world, told)
        wrong += [f"{thread.name} goes on for ever" for thread in threads if thread.is_alive()]
        figures |= {f"kills of {name}": one.kills for name, one in world.victims.items()} | {"settle rounds": rounds}
    return figures, wrong


def _kill(world: Any, seconds: float, chance: random.Random) -> None:
    """Each of them at least once."""
    pause, end = threading.Event(), time.monotonic() + seconds
    while time.monotonic() < end:
        names = list(world.victims)
        chance.shuffle(names)
        for name in names:
            with suppress(httpx.HTTPError):
                world.misbehave(chance)
            pause.wait(chance.uniform(0.3, 3))
            together = [name, *(other for other in names if other != name and chance.random() < 0.15)]
            for victim in together:
                world.victims[victim].kill()
            pause.wait(chance.uniform(0, 0.5))
            deadline = time.monotonic() + 15
            while time.monotonic() < deadline:
                for one in world.victims.values():
                    one.tend()
                if all(one.is_ready() for one in world.victims.values()):
                    break
                pause.wait(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.seconds:.0f} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="adplatform-chaos-") as folder:
        figures, wrong = chaos(Path(folder), given.seconds, given.seed, fsync=True)
    for name, figure in figures.items():
        print(f"{name:26} {figure:>8,}")
    for one in wrong:
        print(f"WRONG: {one}")
    print("every micro is where it should be" if not wrong else f"{len(wrong)} things are wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    forget_grpc_at_fork()
    main()
