"""Whether and when work that failed is tried again."""

from collections.abc import Callable
from datetime import datetime, timedelta
from random import SystemRandom

import grpc
from procrastinate.jobs import Job
from procrastinate.retry import BaseRetryStrategy, RetryDecision

from adlib.clock import Clock
from adlib.errors import AppError
from adlib.telemetry import logger

_BASE_S = 1.0
_MOST_S = 300.0
GIVE_UP_AFTER = timedelta(days=3)
# What time heals. INTERNAL is a fault of ours, which a new release may mend.
_PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,
}

_random = SystemRandom()
_log = logger(__name__)


def most_s(attempts: int) -> float:
    """The longest pause after so many failures: twice as long each time, up to five minutes."""
    return float(min(_BASE_S * 2.0 ** min(attempts, 20), _MOST_S))


def full_jitter_s(attempts: int) -> float:
    """The pause after so many failures: anything up to the longest, so that not all come back at once."""
    return _random.uniform(0, most_s(attempts))


class Retry(BaseRetryStrategy):
    """Again, after a pause, for three days; never what was refused for good."""

    def __init__(self, clock: Clock, pause_s: Callable[[int], float]) -> None:
        self._clock = clock
        self._pause_s = pause_s

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """When to try again; None: never."""
        now = self._clock.now()
        if not isinstance(exception, Exception):
            return RetryDecision(retry_at=now)  # cut short by the end of this process
        is_final = isinstance(exception, AppError) and exception.code not in _PASSING
        log = _log.bind(
            task=job.task_name, **job.task_kwargs, attempts=job.attempts + 1, error=str(exception) or repr(exception)
        )
        # What is unexpected is told with where it happened.
        trace = None if isinstance(exception, AppError) else exception
        if is_final or now - datetime.fromisoformat(str(job.task_kwargs["since"])) > GIVE_UP_AFTER:
            log.error("work_given_up", exc_info=trace)
            return None
        pause_s = self._pause_s(job.attempts)
        log.warning("work_failed", again_in_s=round(pause_s, 1), exc_info=trace)
        return RetryDecision(retry_at=now + timedelta(seconds=pause_s))
