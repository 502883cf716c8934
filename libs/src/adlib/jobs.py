"""Jobs: work on a schedule over many items, one runner at a time, where one item's failure never stops the rest."""

import re
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib.db import Database
from adlib.errors import AppError, Internal
from adlib.telemetry import logger

T = TypeVar("T")

# Failures are named up to this many, in this many characters each.
MAX_FAILURES = 20
_MAX_ITEM = 200
_MAX_REASON = 300
# Paths and queries of URLs carry keys of nodes and passwords of databases.
_URL = re.compile(r"""\b([a-z][a-z0-9+.-]*://)(?:[^\s/@'"]*@)?([^\s/?#'"]*)[^\s'"]*""", re.IGNORECASE)

_log = logger(__name__)


def run(
    db: Database,
    name: str,
    items: Callable[[], Iterable[T]],
    work: Callable[[T], None],
    describe: Callable[[T], str] = str,
) -> JobResult:
    """Works on every item, counts how it went and names what failed, each by `describe`.

    Does nothing while another runner is at the same job.
    """
    started = time.perf_counter()
    result = JobResult()
    stats = result.stats
    with db.advisory_lock(f"job:{name}") as acquired:
        if not acquired:
            return JobResult(success=False, message=f"{name} is already running", stats=stats)
        for item in items():
            stats.total += 1
            try:
                work(item)
                stats.success_count += 1
            except Exception as error:  # noqa: BLE001 - one item's failure is counted and logged, and must not stop the rest
                stats.error_count += 1
                described = describe(item)[:_MAX_ITEM]
                if stats.error_count <= MAX_FAILURES:
                    result.failures.add(item=described, reason=explain(error))
                _log.error("job_item_failed", job=name, item=described, exc_info=True)
    stats.duration_ms = int((time.perf_counter() - started) * 1000)
    result.success = stats.error_count == 0
    result.message = f"{name}: {stats.success_count} of {stats.total} done"
    return result


def explain(error: BaseException) -> str:
    """Why something failed, in a line for operators; of a URL only scheme and host, as the rest may be secret."""
    if isinstance(error, AppError) and not isinstance(error, Internal):
        text = error.message
    else:
        # What a client is not shown, an operator needs.
        cause = error.__cause__ or error
        text = f"{type(cause).__name__}: {cause}"
    return _URL.sub(r"\1\2", " ".join(text.split()))[:_MAX_REASON]
