"""A task stored in a transaction runs after its commit, whatever fails in between."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from uuid import UUID, uuid4

import psycopg
import pytest
from yoyo import get_backend, read_migrations

from adlib.db import Database, migrate
from adlib.errors import FailedPrecondition, Unavailable
from adtesting import eventually
from adtesting.pytest_servers import FreshDatabase
from payment_service.__main__ import MIGRATIONS
from payment_service.task_queue.store import TaskQueue
from payment_service.task_queue.tasks import TaskWorker, WorkerTiming

# A busy machine delays heartbeats, so a worker must not count as dead too soon.
QUICK = WorkerTiming(poll_s=0.05, heartbeat_s=5.0, grace_s=0.5)
# For tests of the jobs of dead workers.
RESCUING = WorkerTiming(poll_s=0.05, heartbeat_s=0.2, grace_s=0.5)
queue = TaskQueue()


def add(db: Database, task: str, subject: UUID, at: datetime | None = None) -> None:
    with db.transaction() as tx:
        queue.add(tx, task, subject, at=at)


@pytest.fixture
def task() -> str:
    """A task name that no other test's worker runs."""
    return f"task-{uuid4().hex[:16]}"


@contextmanager
def working(url: str, tasks: dict[str, Callable[[UUID], None]], **how: object) -> Iterator[None]:
    stop = threading.Event()
    worker = TaskWorker(url, tasks, **{"timing": QUICK, "delay_s": lambda _: 0.0, **how})
    thread = threading.Thread(target=worker.run, args=[stop])
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def jobs(sql: psycopg.Connection, task: str) -> list[tuple[str, str]]:
    rows = sql.execute(
        "SELECT status::text, args->>'subject' FROM procrastinate_jobs WHERE task_name = %s ORDER BY id", [task]
    )
    return rows.fetchall()


def test_task_runs_once_only_if_its_transaction_commits(
    db: Database, database_url: str, sql: psycopg.Connection, task: str
) -> None:
    done: list[UUID] = []
    undone, subject = uuid4(), uuid4()
    with working(database_url, {task: done.append}):
        with suppress(ZeroDivisionError), db.transaction() as tx:
            queue.add(tx, task, undone)
            raise ZeroDivisionError
        add(db, task, subject)
        eventually(lambda: done and not jobs(sql, task))
    assert done == [subject]


def test_scheduled_task_does_not_run_early(db: Database, database_url: str, sql: psycopg.Connection, task: str) -> None:
    done: list[UUID] = []
    later, now, past = uuid4(), uuid4(), uuid4()
    add(db, task, later, datetime.now(UTC) + timedelta(hours=1))
    add(db, task, past, datetime.now(UTC) - timedelta(hours=1))
    add(db, task, now)
    with working(database_url, {task: done.append}):
        eventually(lambda: len(jobs(sql, task)) == 1)
    assert set(done) == {now, past}
    assert jobs(sql, task) == [("todo", str(later))]


def test_task_is_queued_once_per_subject(db: Database, sql: psycopg.Connection, task: str) -> None:
    first, second = uuid4(), uuid4()
    with db.transaction() as tx:
        queue.add(tx, task, first)
        queue.add(tx, task, first)
        queue.add(tx, task, second)
        queue.add(tx, task + "-other", first)
    add(db, task, first)
    assert jobs(sql, task) == [("todo", str(first)), ("todo", str(second))]
    assert jobs(sql, task + "-other") == [("todo", str(first))]


def test_queued_task_sees_the_writes_of_a_repeated_request(
    db: Database, database_url: str, sql: psycopg.Connection, task: str
) -> None:
    has_taken_effect, seen, others = threading.Event(), [], []
    subject = uuid4()
    add(db, task, subject)
    add(db, task + "-other", uuid4())
    tasks = {task: lambda _: seen.append(has_taken_effect.is_set()), task + "-other": others.append}
    with ExitStack() as stack:
        with db.transaction() as tx:
            queue.add(tx, task, subject)
            stack.enter_context(working(database_url, tasks))
            eventually(lambda: others and not jobs(sql, task + "-other"))
            has_taken_effect.set()
        eventually(lambda: not jobs(sql, task))
    assert seen == [True]


def test_unknown_task_is_left_to_a_newer_release(
    db: Database, database_url: str, sql: psycopg.Connection, task: str
) -> None:
    done: list[UUID] = []
    unknown, known = uuid4(), uuid4()
    add(db, task + "-of-tomorrow", unknown)
    add(db, task, known)
    with working(database_url, {task: done.append}):
        eventually(lambda: done)
    assert jobs(sql, task + "-of-tomorrow") == [("todo", str(unknown))]


@pytest.mark.parametrize("error", [Unavailable("not now"), RuntimeError("a fault")], ids=["refused", "unexpected"])
def test_failing_task_is_retried_until_it_succeeds(
    db: Database, database_url: str, sql: psycopg.Connection, task: str, error: Exception
) -> None:
    failures: list[int] = []
    tries: list[UUID] = []

    def pause(attempts: int) -> float:
        failures.append(attempts)
        return 0.0

    def attempt(subject: UUID) -> None:
        tries.append(subject)
        if len(tries) < 4:
            raise error

    subject = uuid4()
    add(db, task, subject)
    with working(database_url, {task: attempt}, delay_s=pause):
        eventually(lambda: not jobs(sql, task))
    assert tries == [subject] * 4
    assert failures == [0, 1, 2]


def test_retry_waits_for_its_delay(db: Database, database_url: str, sql: psycopg.Connection, task: str) -> None:
    def fail(_: UUID) -> None:
        raise Unavailable("not now")

    add(db, task, uuid4())
    query = (
        "SELECT attempts, scheduled_at > now() + interval '59 min' FROM procrastinate_jobs"
        " WHERE task_name = %s AND attempts > 0"
    )
    with working(database_url, {task: fail}, delay_s=lambda _: 3600.0):
        eventually(lambda: sql.execute(query, [task]).fetchone())
    assert sql.execute(query, [task]).fetchall() == [(1, True)]


def test_permanently_failed_task_is_retained(
    db: Database, database_url: str, sql: psycopg.Connection, task: str
) -> None:
    tries: list[UUID] = []

    def refuse(subject: UUID) -> None:
        tries.append(subject)
        raise FailedPrecondition("never")

    subject = uuid4()
    add(db, task, subject)
    with working(database_url, {task: refuse}):
        eventually(lambda: jobs(sql, task) == [("failed", str(subject))])
        sql.execute("UPDATE procrastinate_events SET at = at - interval '29 days'")
    assert tries == [subject]
    sql.execute(
        "UPDATE procrastinate_events SET at = at - interval '2 days' WHERE job_id IN"
        " (SELECT id FROM procrastinate_jobs WHERE task_name = %s)",
        [task],
    )
    with working(database_url, {task: refuse}):
        eventually(lambda: not jobs(sql, task))


def test_retry_is_replaced_by_a_newly_queued_task(
    db: Database, database_url: str, sql: psycopg.Connection, task: str
) -> None:
    tries: list[UUID] = []

    def attempt(subject: UUID) -> None:
        tries.append(subject)
        if len(tries) == 1:
            add(db, task, subject)
            raise Unavailable("not now")

    add(db, task, uuid4())
    with working(database_url, {task: attempt}):
        eventually(lambda: not jobs(sql, task))
    assert len(tries) == 2


def test_tasks_of_one_subject_run_one_at_a_time(
    db: Database, database_url: str, sql: psycopg.Connection, task: str
) -> None:
    running, most = 0, 0
    lock = threading.Lock()
    again = threading.Event()

    def attempt(subject: UUID) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if not again.is_set():
            again.set()
            add(db, task, subject)
            add(db, task, bystander)
            eventually(lambda: jobs(sql, task) == [("doing", str(subject)), ("todo", str(subject))])
        with lock:
            running -= subject != bystander

    bystander = uuid4()
    add(db, task, uuid4())
    with working(database_url, {task: attempt}):
        eventually(lambda: not jobs(sql, task))
    assert most == 2  # the bystander beside the first


def test_two_workers_share_the_queue(db: Database, database_url: str, sql: psycopg.Connection, task: str) -> None:
    both = threading.Barrier(2, timeout=10)
    add(db, task, uuid4())
    add(db, task, uuid4())
    how = {"threads": 1}
    with (
        working(database_url, {task: lambda _: both.wait() and None}, **how),
        working(database_url, {task: lambda _: both.wait() and None}, **how),
    ):
        eventually(lambda: not jobs(sql, task))
    assert not both.broken


_VICTIM = """
import sys, threading
from payment_service.task_queue.tasks import WorkerTiming, TaskWorker
url, task = sys.argv[1:]
def hang(subject):
    print(subject, flush=True)
    threading.Event().wait()
TaskWorker(url, {task: hang}, timing=WorkerTiming(heartbeat_s=0.2)).run(threading.Event())
"""


def test_task_of_a_killed_process_runs_in_another(
    db: Database, database_url: str, sql: psycopg.Connection, task: str
) -> None:
    done: list[UUID] = []
    subject = uuid4()
    add(db, task, subject)
    command = [sys.executable, "-c", _VICTIM, database_url, task]
    victim = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
    try:
        assert victim.stdout is not None
        assert victim.stdout.readline().strip() == str(subject)
        with working(database_url, {task: done.append}, timing=RESCUING):
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            eventually(lambda: not jobs(sql, task))
    finally:
        victim.kill()
        victim.communicate()
    assert done == [subject]


def test_worker_resumes_after_its_connections_were_cut(own_database_url: str, task: str) -> None:
    done: list[UUID] = []
    db = Database(own_database_url)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s"
    with (
        psycopg.connect(own_database_url, autocommit=True) as sql,
        working(own_database_url, {task: done.append}, timing=RESCUING),
    ):
        for number in range(1, 4):
            add(db, task, uuid4())
            eventually(lambda number=number: len(done) == number and not jobs(sql, task))
            sql.execute(cut, [sql.info.backend_pid])
    db.close()


def test_task_whose_result_could_not_be_stored_runs_again(own_database_url: str, task: str) -> None:
    tries: list[UUID] = []
    db = Database(own_database_url)
    subject = uuid4()
    add(db, task, subject)
    db.close()
    with psycopg.connect(own_database_url, autocommit=True) as sql:
        sql.execute("ALTER FUNCTION procrastinate_finish_job_v1 RENAME TO taken_away")
        with working(own_database_url, {task: tries.append}, timing=RESCUING):
            eventually(lambda: len(tries) > 1)
            sql.execute("ALTER FUNCTION taken_away RENAME TO procrastinate_finish_job_v1")
            eventually(lambda: not jobs(sql, task))
    assert set(tries) == {subject}


def test_worker_stops_in_time_and_releases_hanging_tasks(
    db: Database, database_url: str, sql: psycopg.Connection, task: str
) -> None:
    started, end = threading.Event(), threading.Event()

    def hang(_: UUID) -> None:
        started.set()
        end.wait()

    subject = uuid4()
    add(db, task, subject)
    with working(database_url, {task: hang}):
        assert started.wait(10)
    assert jobs(sql, task) == [("todo", str(subject))]
    end.set()


def shape(url: str) -> list[tuple[str, str]]:
    """Every column and function of procrastinate."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT table_name || '.' || column_name, data_type FROM information_schema.columns"
            " WHERE table_name LIKE 'procrastinate%' UNION ALL"
            " SELECT oid::regprocedure::text, md5(prosrc) FROM pg_proc WHERE proname LIKE 'procrastinate%' UNION ALL"
            " SELECT indexname, indexdef FROM pg_indexes WHERE indexname LIKE '%procrastinate%' UNION ALL"
            " SELECT typname, typcategory::text FROM pg_type WHERE typname LIKE '%procrastinate%' ORDER BY 1"
        ).fetchall()


def test_migration_matches_the_installed_procrastinate(fresh_database: FreshDatabase) -> None:
    ours, theirs = fresh_database("ours"), fresh_database("theirs")
    migrate(ours, *MIGRATIONS)
    with psycopg.connect(theirs) as connection:
        connection.execute((files("procrastinate.sql") / "schema.sql").read_bytes())
    assert shape(ours) == shape(theirs)
    backend = get_backend(ours.replace("postgresql://", "postgresql+psycopg://", 1))
    every = read_migrations(str(files("payment_service") / "migrations"))
    backend.rollback_migrations(backend.to_rollback(every.filter(lambda one: one.id == "payment-0008-work")))
    backend.connection.close()
    assert shape(ours) == []
    assert migrate(ours, *MIGRATIONS) == ["payment-0008-work"]
