# runs-with: 1
"""The tables of the work queue: procrastinate's own migrations, from the installed package.

Up to a named release, so that a new and an old database come to the same, whichever release is installed: what a later
release adds gets a migration of its own here, which names that release.
"""

from importlib.resources import files
from typing import Any

from yoyo import step

# One transaction of our own: in yoyo's savepoints PostgreSQL refuses values that were just added to an enumeration.
__transactional__ = False
_LAST = "03.04.00"
# Every try would leave three rows of history for as long as its job lives, and work is tried for days: the log has it.
# A queue is empty most of the time, and so the planner believes of a full one: it would read and sort all that waits to
# find the next (30 ms at 1,000 waiting, 0.4 ms like this).
_OWN = """
CREATE INDEX work_by_lock ON procrastinate_jobs (lock) WHERE status IN ('todo', 'doing');
ALTER FUNCTION procrastinate_fetch_job_v2 SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off;
ALTER TABLE procrastinate_jobs DISABLE TRIGGER procrastinate_trigger_status_events_update_v1;
ALTER TABLE procrastinate_jobs DISABLE TRIGGER procrastinate_trigger_scheduled_events_v1;
"""
_DROP = """
DO $$
DECLARE
    name text;
BEGIN
    DROP TABLE procrastinate_events, procrastinate_periodic_defers, procrastinate_jobs, procrastinate_workers CASCADE;
    FOR name IN
        SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = current_schema::regnamespace AND proname LIKE 'procrastinate\\_%'
    LOOP
        EXECUTE 'DROP ROUTINE ' || name;
    END LOOP;
    DROP TYPE procrastinate_job_to_defer_v1, procrastinate_job_status, procrastinate_job_event_type;
END;
$$
"""


def _apply(connection: Any) -> None:
    folder = files("procrastinate.sql") / "migrations"
    with connection.transaction():
        (made,) = connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone()
        if made:
            return  # and cut short before yoyo could write so
        for file in sorted(folder.iterdir(), key=lambda one: one.name):
            if file.name.endswith(".sql") and file.name[: len(_LAST)] <= _LAST:
                connection.execute(file.read_text(encoding="utf-8"))
        connection.execute(_OWN)


step(_apply, _DROP)
