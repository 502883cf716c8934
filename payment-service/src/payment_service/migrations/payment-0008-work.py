# runs-with: 1
"""The tables of the work queue: procrastinate's own migrations, from the installed package.

They are applied up to the release `_LAST`, so that new and old databases have the same schema whichever release is
installed. The migrations of a later release are applied by a new migration here, which names that release.
"""

from importlib.resources import files
from typing import Any

from yoyo import step

# In its own transaction: inside yoyo's savepoints PostgreSQL refuses values that were just added to an enumeration.
__transactional__ = False
_LAST = "03.04.00"
# The triggers would add three rows of history per attempt until the job is deleted, and jobs are retried for days; the
# log has the attempts. The planner expects an empty queue, so without these settings it would read and sort all waiting
# jobs to find the next one (30 ms with 1,000 waiting jobs, 0.4 ms with the settings).
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
            return  # applied, but interrupted before yoyo recorded it
        for file in sorted(folder.iterdir(), key=lambda one: one.name):
            if file.name.endswith(".sql") and file.name[: len(_LAST)] <= _LAST:
                connection.execute(file.read_text(encoding="utf-8"))
        connection.execute(_OWN)


step(_apply, _DROP)
