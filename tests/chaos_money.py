"""Kills payment-service, PostgreSQL and Stripe's sandbox at random under load, restores them, and verifies every micro.

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

from adctl.supervision.children import disable_grpc_fork_support

CUSTOMERS = 6


def chaos(folder: Path, seconds: float, seed: int, *, fsync: bool = False) -> tuple[dict[str, int], list[str]]:
    """Figures to print, and every inconsistency found afterwards."""
    # These import gRPC, which must be configured for forks first.
    from .chaos_customers import Observations, start_customers
    from .chaos_platform import running
    from .chaos_verification import settle, verify

    chance, observations, stop = random.Random(seed), Observations(), threading.Event()
    with running(folder, fsync=fsync) as platform:
        threads = start_customers(platform, observations, CUSTOMERS, seed, stop)
        try:
            _kill(platform, seconds, chance)
        finally:
            stop.set()
            platform.restore()
            for thread in threads:
                thread.join(60)
        rounds = settle(platform)
        figures, wrong = verify(platform, observations)
        wrong += [f"{thread.name} did not stop" for thread in threads if thread.is_alive()]
        figures |= {f"kills of {name}": one.kills for name, one in platform.targets.items()} | {"settle rounds": rounds}
    return figures, wrong


def _kill(platform: Any, seconds: float, chance: random.Random) -> None:
    """Kills each target at least once."""
    pause, end = threading.Event(), time.monotonic() + seconds
    while time.monotonic() < end:
        names = list(platform.targets)
        chance.shuffle(names)
        for name in names:
            with suppress(httpx.HTTPError):
                platform.inject_faults(chance)
            pause.wait(chance.uniform(0.3, 3))
            together = [name, *(other for other in names if other != name and chance.random() < 0.15)]
            for target in together:
                platform.targets[target].kill()
            pause.wait(chance.uniform(0, 0.5))
            deadline = time.monotonic() + 15
            while time.monotonic() < deadline:
                for one in platform.targets.values():
                    one.start_if_down()
                if all(one.is_ready() for one in platform.targets.values()):
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
    print("every micro is accounted for" if not wrong else f"{len(wrong)} inconsistencies")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    disable_grpc_fork_support()
    main()
