"""The task queue, in procrastinate's tables."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, Text, bindparam, text

from adlib.db import Query, Transaction, UniqueViolated

_IS_QUEUED = "procrastinate_jobs_queueing_lock_idx_v1"
# One queue per task, so that a release that does not know a task leaves it to the ones that do.
# `lock`: one job per task and subject runs at a time; `queueing_lock`: one is queued.
_ADD = Query(
    text(
        """
        SELECT procrastinate_defer_jobs_v1(ARRAY[ROW(
            :task, :task, 0, :task || '/' || :subject, :task || '/' || :subject,
            jsonb_build_object('subject', CAST(:subject AS text), 'since', coalesce(:at, now())), :at
        )::procrastinate_job_to_defer_v1])
        """
    ).bindparams(bindparam("task", type_=Text), bindparam("subject", type_=Text), bindparam("at", type_=DateTime(True)))
)
# Workers skip locked rows, so none starts the job before this transaction ends.
_LOCK_WAITING = Query(
    text(
        "SELECT FROM procrastinate_jobs WHERE queueing_lock = :task || '/' || :subject AND status = 'todo' FOR UPDATE"
    ).bindparams(bindparam("task", type_=Text), bindparam("subject", type_=Text))
)


class TaskQueue:
    """Stores tasks in the transaction that needs them; they run after it commits."""

    def add(self, tx: Transaction, task: str, subject: UUID, *, at: datetime | None = None) -> None:
        """Runs `task` for `subject` after this transaction commits, at once or at `at`.

        Adds nothing if the same task is queued already, even for a later time: that task will see the changes of this
        transaction.
        A task's name has at most 40 characters.
        """
        which = {"task": task, "subject": str(subject)}
        while True:
            try:
                with tx.savepoint():
                    tx.execute(_ADD, **which, at=at)
                return
            except UniqueViolated as error:
                if error.constraint != _IS_QUEUED:
                    raise
            if tx.one(_LOCK_WAITING, **which) is not None:
                return
