"""Does the work that waits in the queue: procrastinate's worker, on a thread with an event loop of its own.

Three things that procrastinate leaves open are closed here: it runs again what a killed worker left behind, drops what
is to be tried again while the same waits anew, and starts afresh whenever the database did not hear it.
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

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException, UniqueViolation
from procrastinate.jobs import Job, Status
from procrastinate.manager import QUEUEING_LOCK_CONSTRAINT, JobManager
from psycopg_pool import AsyncConnectionPool

from adlib.clock import Clock, SystemClock
from adlib.telemetry import logger
from payment_service.work.retry import Retry, full_jitter_s

Task = Callable[[UUID], None]

_CONNECTION = {"connect_timeout": 3, "options": "-c statement_timeout=10000 -c timezone=UTC"}
_WAIT_FOR_CONNECTION_S = 3.0
_STOP_LOOK_S = 0.1
_LONGEST_WAIT_S = 5.0
_KEEP_FAILED = timedelta(days=30)
_TIDY_EVERY_S = 3600.0

_random = SystemRandom()
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a worker looks for work that is due and says that it lives, and how long it lets work end."""

    poll_s: float = 1.0
    heartbeat_s: float = 5.0
    # Of the ten seconds that the service has to stop.
    grace_s: float = 7.0

    @property
    def stalled_s(self) -> float:
        """After this silence a worker is gone."""
        return 5 * self.heartbeat_s


class TaskWorker:
    """Any number of processes may run one. A task may be run again after it was done, so it must not mind."""

    def __init__(
        self,
        url: str,
        tasks: Mapping[str, Task],
        clock: Clock | None = None,
        *,
        threads: int = 8,
        pause_s: Callable[[int], float] = full_jitter_s,
        pace: Pace | None = None,
    ) -> None:
        self._url = url
        self._tasks = tasks
        self._threads = threads
        self._retry = Retry(clock or SystemClock(), pause_s)
        self._pace = pace or Pace()

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set."""
        # How each job ended is logged by `Retry`, with its subject.
        logging.getLogger("procrastinate.worker").addFilter(_is_no_outcome)
        longest_s = _STOP_LOOK_S
        while not stop.is_set():
            try:
                asyncio.run(self._work(stop))
                longest_s = _STOP_LOOK_S
            except (ConnectorException, psycopg.Error) as error:
                longest_s = min(2 * longest_s, _LONGEST_WAIT_S)
                _log.warning("work_waits", error=str(error.__cause__ or error))
            stop.wait(_random.uniform(0, longest_s))

    async def _work(self, stop: threading.Event) -> None:
        """Until it is time to stop, or to start afresh because the database has missed something."""
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
            timeout=_WAIT_FOR_CONNECTION_S,
            check=AsyncConnectionPool.check_connection,
            open=False,
        )
        async with pool, app.open_async(pool):
            working = [
                asyncio.create_task(one)
                for one in (
                    self._fetch_and_run(app), self._rescue(manager), _tidy(manager), manager.lost.wait(), _until(stop),
                )
            ]  # fmt: skip
            await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
            for one in working:
                one.cancel()
            ends = await asyncio.gather(*working, return_exceptions=True)
        if errors := [end for end in ends if isinstance(end, Exception)]:
            raise errors[0]

    async def _fetch_and_run(self, app: App) -> None:
        await app.run_worker_async(
            queues=list(self._tasks),
            concurrency=self._threads,
            fetch_job_polling_interval=self._pace.poll_s,
            shutdown_graceful_timeout=self._pace.grace_s,
            delete_jobs="successful",
            install_signal_handlers=False,
            update_heartbeat_interval=self._pace.heartbeat_s,
            stalled_worker_timeout=self._pace.stalled_s,
        )

    async def _rescue(self, manager: "_Manager") -> None:
        """Has run again what workers that are gone were doing."""
        while True:
            for job in await manager.get_stalled_jobs(seconds_since_heartbeat=self._pace.stalled_s):
                _log.warning("work_rescued", task=job.task_name, **job.task_kwargs, attempts=job.attempts)
                with suppress(ConnectorException):  # somebody else was faster
                    await manager.retry_job_by_id_async(job.id or 0, retry_at=datetime.now().astimezone())
            await asyncio.sleep(self._pace.heartbeat_s)


class _Manager(JobManager):
    """What procrastinate writes of its jobs; `lost` is set when something could not be written.

    A worker that went on would keep a job for ever whose end nobody has read, or be without a heartbeat. One that
    starts afresh gives up its number, and with it what it seems to be doing.
    """

    def __init__(self, connector: PsycopgConnector) -> None:
        super().__init__(connector)
        self.lost = asyncio.Event()

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        await self._noticing(super().finish_job(job, status, delete_job))

    async def retry_job(self, job: Job, *args: Any, **how: Any) -> None:
        await self._noticing(super().retry_job(job, *args, **how))

    async def update_heartbeat(self, worker_id: int) -> None:
        await self._noticing(super().update_heartbeat(worker_id))

    async def listen_for_jobs(self, **how: Any) -> None:
        await self._noticing(super().listen_for_jobs(**how))

    async def retry_job_by_id_async(self, job_id: int, *args: Any, **how: Any) -> None:
        try:
            await super().retry_job_by_id_async(job_id, *args, **how)
        except UniqueViolation as error:
            if error.constraint_name != QUEUEING_LOCK_CONSTRAINT:
                raise
            # The same was added while this one ran; that will do what this could not.
            await self.finish_job_by_id_async(job_id, Status.FAILED, delete_job=True)

    async def _noticing(self, write: Awaitable[None]) -> None:
        try:
            await write
        except ConnectorException as error:
            _log.warning("work_not_written", error=str(error.__cause__ or error))
            self.lost.set()


async def _tidy(manager: JobManager) -> None:
    while True:
        try:
            await manager.delete_old_jobs(
                nb_hours=round(_KEEP_FAILED / timedelta(hours=1)),
                include_failed=True,
                include_cancelled=True,
                include_aborted=True,
            )
        except ConnectorException as error:
            _log.warning("work_not_tidied", error=str(error.__cause__ or error))
        await asyncio.sleep(_TIDY_EVERY_S)


async def _until(stop: threading.Event) -> None:
    while not stop.is_set():
        await asyncio.sleep(_STOP_LOOK_S)


def _in_a_thread(task: Task) -> Callable[[str, str], Awaitable[None]]:
    """The task for procrastinate: on a thread that nobody waits for when the process ends."""

    async def run(subject: str, since: str) -> None:
        del since  # for `Retry`
        future: Future[None] = Future()

        def work() -> None:
            try:
                task(UUID(subject))
            except BaseException as error:  # noqa: BLE001 - whatever it is, whoever waits gets it
                outcome: BaseException | None = error
            else:
                outcome = None
            with suppress(InvalidStateError):  # nobody waits any more
                future.set_exception(outcome) if outcome else future.set_result(None)

        threading.Thread(target=work, name=f"work {subject}", daemon=True).start()
        await asyncio.wrap_future(future)

    return run


def _is_no_outcome(record: logging.LogRecord) -> bool:
    return getattr(record, "action", "") != "job_error"
