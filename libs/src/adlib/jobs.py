"""Jobs: work on a schedule over many items, one runner at a time, where one item's failure never stops the rest."""

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib.db import Database
from adlib.telemetry import logger

T = TypeVar("T")

_log = logger(__name__)


def run(db: Database, name: str, items: Callable[[], Iterable[T]], work: Callable[[T], None]) -> JobResult:
    """Works on every item and counts how it went; does nothing while another runner is at the same job."""
    started = time.perf_counter()
    stats = JobResult.Stats()
    with db.exclusive(f"job:{name}") as alone:
        if not alone:
            return JobResult(success=False, message=f"{name} is already running", stats=stats)
        for item in items():
            stats.total += 1
            try:
                work(item)
                stats.success_count += 1
            except Exception:  # noqa: BLE001 - one item's failure is counted and logged, and must not stop the rest
                stats.error_count += 1
                _log.error("job_item_failed", job=name, item=str(item)[:200], exc_info=True)
    stats.duration_ms = int((time.perf_counter() - started) * 1000)
    message = f"{name}: {stats.success_count} of {stats.total} done"
    return JobResult(success=stats.error_count == 0, message=message, stats=stats)
