"""Times calls one by one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns


@dataclass(frozen=True, slots=True)
class Figure:
    """The duration of a call in microseconds; the target is for the median unless `target_is_p95`."""

    name: str
    p50_us: float
    p95_us: float
    target_us: float | None = None
    target_is_p95: bool = False

    @property
    def meets_target(self) -> bool:
        return self.target_us is None or (self.p95_us if self.target_is_p95 else self.p50_us) < self.target_us


def timed(
    name: str,
    call: Callable[..., object],
    rounds: Iterable[Iterable[tuple[object, ...]]],
    target_us: float | None = None,
    *,
    p95: bool = False,
) -> Figure:
    """Times rounds of calls, each a list of arguments.

    A figure is the median of the rounds' medians and of their 95th percentiles, so one disturbed round changes neither.
    """
    taken = [_round(call, calls) for calls in rounds]
    return Figure(name, median(one[0] for one in taken), median(one[1] for one in taken), target_us, p95)


def _round(call: Callable[..., object], calls: Iterable[tuple[object, ...]]) -> tuple[float, float]:
    took = []
    for arguments in calls:
        started = perf_counter_ns()
        call(*arguments)
        took.append(perf_counter_ns() - started)
    took.sort()
    return took[len(took) // 2] / 1000, took[len(took) * 95 // 100] / 1000
