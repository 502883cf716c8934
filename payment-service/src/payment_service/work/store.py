"""Work for later in the database, in the tables of procrastinate."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, Text, bindparam, text

from adlib.db import Query, Transaction, UniqueViolated

_WAITS_ALREADY = "procrastinate_jobs_queueing_lock_idx_v1"
# A queue a task: a process whose release does not know a task leaves it to those that do.
# `lock`: of one task and subject one job runs at a time; `queueing_lock`: one waits.
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
# Until this transaction ends no worker begins with it: workers pass over what is locked.
_LOCK_WAITING = Query(
    text(
        "SELECT FROM procrastinate_jobs WHERE queueing_lock = :task || '/' || :subject AND status = 'todo' FOR UPDATE"
    ).bindparams(bindparam("task", type_=Text), bindparam("subject", type_=Text))
)


class WorkQueue:
    """What has to be done outside of a transaction, remembered in it."""

    def add(self, tx: Transaction, task: str, subject: UUID, *, at: datetime | None = None) -> None:
        """Has `task` run for `subject` once this transaction has taken effect, at once or at that time.

        A task's name has 40 characters at most. Nothing is added while the same waits already, even for a later time:
        it will see what this transaction did.
        """
        which = {"task": task, "subject": str(subject)}
        while True:
            try:
                with tx.savepoint():
                    tx.execute(_ADD, **which, at=at)
                return
            except UniqueViolated as error:
                if error.constraint != _WAITS_ALREADY:
                    raise
            if tx.one(_LOCK_WAITING, **which) is not None:
                return
