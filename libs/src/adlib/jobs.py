"""Scheduled jobs over many items: one run at a time, and the failure of an item does not stop the others."""

import re
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib.db import Database
from adlib.errors import AppError, Internal
from adlib.telemetry import logger

T = TypeVar("T")

# Further failures are counted and not listed. The lengths are in characters.
_MAX_LISTED_FAILURES = 20
_MAX_ITEM_LENGTH = 200
_MAX_REASON_LENGTH = 300
# URLs may contain API keys of blockchain nodes and passwords of databases.
_URL = re.compile(r"""\b([a-z][a-z0-9+.-]*://)(?:[^\s/@'"]*@)?([^\s/?#'"]*)[^\s'"]*""", re.IGNORECASE)

_log = logger(__name__)


def run(
    db: Database,
    name: str,
    items: Callable[[], Iterable[T]],
    work: Callable[[T], None],
    describe: Callable[[T], str] = str,
) -> JobResult:
    """Calls `work` for every item and counts the results; `describe` returns the listed text of a failed item.

    Does nothing while another run of the same job is active, in any process.
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
                described = describe(item)[:_MAX_ITEM_LENGTH]
                if stats.error_count <= _MAX_LISTED_FAILURES:
                    result.failures.add(item=described, reason=explain(error))
                _log.error("job_item_failed", job=name, item=described, exc_info=True)
    stats.duration_ms = int((time.perf_counter() - started) * 1000)
    result.success = stats.error_count == 0
    result.message = f"{name}: {stats.success_count} of {stats.total} done"
    return result


def explain(error: BaseException) -> str:
    """The reason of a failure in one line for operators; URLs are reduced to scheme and host."""
    if isinstance(error, AppError) and not isinstance(error, Internal):
        text = error.message
    else:
        # Operators need the cause, which clients do not see.
        cause = error.__cause__ or error
        text = f"{type(cause).__name__}: {cause}"
    return _URL.sub(r"\1\2", " ".join(text.split()))[:_MAX_REASON_LENGTH]
