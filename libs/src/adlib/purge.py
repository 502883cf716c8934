"""Deletes rows whose retention is over, by a job that every service has in the same shape."""

import time
from collections.abc import Sequence
from datetime import timedelta

from adplatform.jobs.v1.jobs_pb2 import JobResult
from prometheus_client import Counter
from sqlalchemy import BigInteger, DateTime, bindparam, text

from adlib import jobs
from adlib.clock import Clock
from adlib.db import Database, Query
from adlib.deadline import deadline
from adlib.retention import Retention, Rule

# One transaction's rows, so that no call waits for it: a session may have thousands of refresh tokens.
_BATCH = 100
# Of one table in a run; what is left over waits for the next run.
_MAX_BATCHES = 1_000
# Kept back from the caller's deadline for the tables that come after, and for the answer.
_MARGIN_S = 2.0

_purged = Counter("purged_rows_total", "Rows deleted because their retention was over", ["table"])


class PurgeExpired:
    """The use case of each service's PurgeExpired; one runner at a time in a database."""

    def __init__(self, db: Database, clock: Clock, rules: Sequence[Rule]) -> None:
        self._db = db
        self._clock = clock
        self._tables: dict[str, list[tuple[Query, timedelta]]] = {}
        for rule in rules:
            if isinstance(rule, Retention):
                self._tables.setdefault(rule.table, []).append((_statement(rule), timedelta(days=rule.days)))

    def run(self) -> JobResult:
        """Works on every table that has a retention; the message says how many rows were deleted of which."""
        deleted: dict[str, int] = {}
        result = jobs.run(self._db, "purge-expired", lambda: self._tables, lambda table: self._purge(table, deleted))
        if deleted:
            result.message += "; rows deleted: " + ", ".join(f"{count} {table}" for table, count in deleted.items())
        return result

    def _purge(self, table: str, deleted: dict[str, int]) -> None:
        for query, age in self._tables[table]:
            before = self._clock.now() - age
            for _ in range(_MAX_BATCHES):
                with self._db.transaction() as tx:
                    count = tx.execute(query, before=before, most=_BATCH)
                if count:
                    deleted[table] = deleted.get(table, 0) + count
                    _purged.labels(table).inc(count)
                if count < _BATCH or time.monotonic() > deadline.get() - _MARGIN_S:
                    break


def _statement(rule: Retention) -> Query:
    is_over = f"{rule.time} <= :before AND {rule.condition}"
    # Looked at again when the row is deleted: it may have changed since it was found.
    statement = f"""
        DELETE FROM {rule.table}
        WHERE ctid = ANY(ARRAY(SELECT ctid FROM {rule.table} WHERE {is_over} ORDER BY {rule.time} LIMIT :most))
        AND {is_over}
    """  # noqa: S608 - table, time and condition are constants of the services' code
    return Query(
        text(statement).bindparams(
            bindparam("before", type_=DateTime(timezone=True)), bindparam("most", type_=BigInteger)
        )
    )
