"""Runs queued tasks: procrastinate's worker, on a thread with its own event loop.

It adds to procrastinate: jobs of killed workers are run again, a retry is dropped if the same task is queued already,
and the worker restarts after a write to the database has failed.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import SystemRandom
from typing import Any
from uuid import UUID

import grpc
import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException, UniqueViolation
from procrastinate.jobs import Job, Status
from procrastinate.manager import QUEUEING_LOCK_CONSTRAINT, JobManager
from procrastinate.retry import BaseRetryStrategy, RetryDecision
from psycopg_pool import AsyncConnectionPool

from adlib.clock import Clock, SystemClock
from adlib.errors import AppError
from adlib.telemetry import logger

Task = Callable[[UUID], None]

_CONNECTION = {"connect_timeout": 3, "options": "-c statement_timeout=10000 -c timezone=UTC"}
_POOL_TIMEOUT_S = 3.0
_STOP_CHECK_INTERVAL_S = 0.1
_MAX_RESTART_DELAY_S = 5.0
_FAILED_JOB_RETENTION = timedelta(days=30)
_CLEAN_UP_INTERVAL_S = 3600.0

_BASE_RETRY_DELAY_S = 1.0
_MAX_RETRY_DELAY_S = 300.0
GIVE_UP_AFTER = timedelta(days=3)
# INTERNAL is a bug in this service, which a new release may fix.
_TRANSIENT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,
}

_random = SystemRandom()
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerTiming:
    """How often a worker polls and sends heartbeats, and how long running tasks may continue when it stops."""

    poll_s: float = 1.0
    heartbeat_s: float = 5.0
    # The service has ten seconds to stop.
    grace_s: float = 7.0

    @property
    def stalled_s(self) -> float:
        """Without a heartbeat for this long, a worker counts as dead."""
        return 5 * self.heartbeat_s


def max_delay_s(attempts: int) -> float:
    """The longest delay after this many failures: doubled each time, up to five minutes."""
    return float(min(_BASE_RETRY_DELAY_S * 2.0 ** min(attempts, 20), _MAX_RETRY_DELAY_S))


def full_jitter_s(attempts: int) -> float:
    """The delay after this many failures: uniform up to the longest, so that retries spread out."""
    return _random.uniform(0, max_delay_s(attempts))


class RetryPolicy(BaseRetryStrategy):
    """Retries with growing delays for three days; permanent errors are not retried."""

    def __init__(self, clock: Clock, delay_s: Callable[[int], float]) -> None:
        self._clock = clock
        self._delay_s = delay_s

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """When to retry; None for never."""
        now = self._clock.now()
        if not isinstance(exception, Exception):
            return RetryDecision(retry_at=now)  # interrupted by the end of this process
        is_permanent = isinstance(exception, AppError) and exception.code not in _TRANSIENT
        log = _log.bind(
            task=job.task_name, **job.task_kwargs, attempts=job.attempts + 1, error=str(exception) or repr(exception)
        )
        # Unexpected errors are logged with their traceback.
        trace = None if isinstance(exception, AppError) else exception
        if is_permanent or now - datetime.fromisoformat(str(job.task_kwargs["since"])) > GIVE_UP_AFTER:
            log.error("task_given_up", exc_info=trace)
            return None
        delay_s = self._delay_s(job.attempts)
        log.warning("task_failed", retry_in_s=round(delay_s, 1), exc_info=trace)
        return RetryDecision(retry_at=now + timedelta(seconds=delay_s))


class TaskWorker:
    """Runs queued tasks on threads. Any number of processes may run one.

    A completed task may run again, so tasks must be idempotent.
    """

    def __init__(
        self,
        url: str,
        tasks: Mapping[str, Task],
        clock: Clock | None = None,
        *,
        threads: int = 8,
        delay_s: Callable[[int], float] = full_jitter_s,
        timing: WorkerTiming | None = None,
    ) -> None:
        self._url = url
        self._tasks = tasks
        self._threads = threads
        self._retry = RetryPolicy(clock or SystemClock(), delay_s)
        self._timing = timing or WorkerTiming()

    def run(self, stop: threading.Event) -> None:
        """Runs until `stop` is set."""
        # `RetryPolicy` logs how each job ended, with its subject.
        logging.getLogger("procrastinate.worker").addFilter(_is_not_job_error)
        restart_delay_s = _STOP_CHECK_INTERVAL_S
        while not stop.is_set():
            try:
                asyncio.run(self._work(stop))
                restart_delay_s = _STOP_CHECK_INTERVAL_S
            except (ConnectorException, psycopg.Error) as error:
                restart_delay_s = min(2 * restart_delay_s, _MAX_RESTART_DELAY_S)
                _log.warning("task_worker_waits", error=str(error.__cause__ or error))
            stop.wait(_random.uniform(0, restart_delay_s))

    async def _work(self, stop: threading.Event) -> None:
        """Runs until `stop` is set, or until a write has failed and the worker has to restart."""
        connector = PsycopgConnector()
        app = App(connector=connector)
        app.job_manager = manager = _Manager(connector)
        for name, task in self._tasks.items():
            app.task(name=name, queue=name, retry=self._retry)(_in_a_thread(task))
        pool = AsyncConnectionPool(
            self._url,
            kwargs=_CONNECTION,
            min_size=1,
            max_size=4,
            timeout=_POOL_TIMEOUT_S,
            check=AsyncConnectionPool.check_connection,
            open=False,
        )
        async with pool, app.open_async(pool):
            running = [
                asyncio.create_task(one)
                for one in (
                    self._fetch_and_run(app), self._rescue(manager), _clean_up(manager), manager.write_failed.wait(),
                    _stopped(stop),
                )
            ]  # fmt: skip
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for one in running:
                one.cancel()
            results = await asyncio.gather(*running, return_exceptions=True)
        if errors := [result for result in results if isinstance(result, Exception)]:
            raise errors[0]

    async def _fetch_and_run(self, app: App) -> None:
        await app.run_worker_async(
            queues=list(self._tasks),
            concurrency=self._threads,
            fetch_job_polling_interval=self._timing.poll_s,
            shutdown_graceful_timeout=self._timing.grace_s,
            delete_jobs="successful",
            install_signal_handlers=False,
            update_heartbeat_interval=self._timing.heartbeat_s,
            stalled_worker_timeout=self._timing.stalled_s,
        )

    async def _rescue(self, manager: "_Manager") -> None:
        """Requeues the jobs of dead workers."""
        while True:
            for job in await manager.get_stalled_jobs(seconds_since_heartbeat=self._timing.stalled_s):
                _log.warning("task_rescued", task=job.task_name, **job.task_kwargs, attempts=job.attempts)
                with suppress(ConnectorException):  # another worker was faster
                    await manager.retry_job_by_id_async(job.id or 0, retry_at=datetime.now().astimezone())
            await asyncio.sleep(self._timing.heartbeat_s)


class _Manager(JobManager):
    """Procrastinate's writes to its tables; `write_failed` is set after one has failed.

    If the worker continued, a job whose end was not stored would be running forever, or the worker would count as dead.
    A restart releases the worker's id, and with it the jobs that it appears to run.
    """

    def __init__(self, connector: PsycopgConnector) -> None:
        super().__init__(connector)
        self.write_failed = asyncio.Event()

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        await self._watched(super().finish_job(job, status, delete_job))

    async def retry_job(self, job: Job, *args: Any, **how: Any) -> None:
        await self._watched(super().retry_job(job, *args, **how))

    async def update_heartbeat(self, worker_id: int) -> None:
        await self._watched(super().update_heartbeat(worker_id))

    async def listen_for_jobs(self, **how: Any) -> None:
        await self._watched(super().listen_for_jobs(**how))

    async def retry_job_by_id_async(self, job_id: int, *args: Any, **how: Any) -> None:
        try:
            await super().retry_job_by_id_async(job_id, *args, **how)
        except UniqueViolation as error:
            if error.constraint_name != QUEUEING_LOCK_CONSTRAINT:
                raise
            # The same task was queued while this one ran, and replaces the retry.
            await self.finish_job_by_id_async(job_id, Status.FAILED, delete_job=True)

    async def _watched(self, write: Awaitable[None]) -> None:
        try:
            await write
        except ConnectorException as error:
            _log.warning("task_write_failed", error=str(error.__cause__ or error))
            self.write_failed.set()


async def _clean_up(manager: JobManager) -> None:
    while True:
        try:
            await manager.delete_old_jobs(
                nb_hours=round(_FAILED_JOB_RETENTION / timedelta(hours=1)),
                include_failed=True,
                include_cancelled=True,
                include_aborted=True,
            )
        except ConnectorException as error:
            _log.warning("task_clean_up_failed", error=str(error.__cause__ or error))
        await asyncio.sleep(_CLEAN_UP_INTERVAL_S)


async def _stopped(stop: threading.Event) -> None:
    while not stop.is_set():
        await asyncio.sleep(_STOP_CHECK_INTERVAL_S)


def _in_a_thread(task: Task) -> Callable[[str, str], Awaitable[None]]:
    """The task for procrastinate, on a daemon thread, which does not delay the end of the process."""

    async def run(subject: str, since: str) -> None:
        del since  # for `RetryPolicy`
        future: Future[None] = Future()

        def work() -> None:
            try:
                task(UUID(subject))
            except BaseException as error:  # noqa: BLE001 - passed on to the waiting coroutine
                outcome: BaseException | None = error
            else:
                outcome = None
            with suppress(InvalidStateError):  # the coroutine was cancelled
                future.set_exception(outcome) if outcome else future.set_result(None)

        threading.Thread(target=work, name=f"task {subject}", daemon=True).start()
        await asyncio.wrap_future(future)

    return run


def _is_not_job_error(record: logging.LogRecord) -> bool:
    return getattr(record, "action", "") != "job_error"
