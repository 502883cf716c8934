"""Makes calls on several threads for a time, and measures throughput and the 99th percentile."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

Call = Callable[[random.Random, int], None]


@dataclass(frozen=True, slots=True)
class Figure:
    """Transfers per second, and the 99th percentile of the calls' durations."""

    per_s: float
    p99_ms: float


@dataclass
class Contest:
    """Calls that are measured in turns, so that other load of the machine affects all of them alike."""

    calls: dict[str, tuple[Call, int]]
    clients: int
    rounds: int = 3
    round_s: float = 2.0

    def run(self) -> dict[str, Figure]:
        """The medians of the rounds' figures by name, after a warm-up round."""
        for call, size in self.calls.values():
            measured(call, size, self.clients, self.round_s / 4)
        found: dict[str, list[Figure]] = {name: [] for name in self.calls}
        for _ in range(self.rounds):
            for name, (call, size) in self.calls.items():
                found[name].append(measured(call, size, self.clients, self.round_s))
        return {
            name: Figure(median(one.per_s for one in figures), median(one.p99_ms for one in figures))
            for name, figures in found.items()
        }


def measured(call: Call, size: int, clients: int, seconds: float) -> Figure:
    """Runs `clients` threads that call in a loop; `size` is a call's transfers. Raises the first error of a call."""
    took: list[float] = []
    failed: list[BaseException] = []
    start = perf_counter()

    def work(client: int) -> None:
        random_, mine, number = random.Random(client), [], 0
        try:
            while (call_start := perf_counter()) < start + seconds:
                call(random_, number)
                number += 1
                mine.append(perf_counter() - call_start)
        except BaseException as error:
            failed.append(error)
            raise
        took.extend(mine)

    threads = [threading.Thread(target=work, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    took.sort()
    return Figure(len(took) * size / (perf_counter() - start), took[len(took) * 99 // 100] * 1_000)
