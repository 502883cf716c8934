"""The job PurgeExpired, which every service has: deletes rows whose retention period has ended."""

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

# Rows per transaction: few, so that calls do not wait for its locks. Deleting a session may delete thousands of tokens.
_BATCH_SIZE = 100
# Per table and run; the next run deletes the rest.
_MAX_BATCHES = 1_000
# Reserved within the caller's deadline for the remaining tables and the answer.
_DEADLINE_MARGIN_S = 2.0

_purged = Counter("purged_rows_total", "Rows deleted because their retention period has ended", ["table"])


class PurgeExpired:
    """The use case of PurgeExpired; one run per database at a time."""

    def __init__(self, db: Database, clock: Clock, rules: Sequence[Rule]) -> None:
        self._db = db
        self._clock = clock
        self._tables: dict[str, list[tuple[Query, timedelta]]] = {}
        for rule in rules:
            if isinstance(rule, Retention):
                self._tables.setdefault(rule.table, []).append((_statement(rule), timedelta(days=rule.days)))

    def run(self) -> JobResult:
        """Purges every table that has a retention; the message has the number of deleted rows of each."""
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
                    count = tx.execute(query, before=before, most=_BATCH_SIZE)
                if count:
                    deleted[table] = deleted.get(table, 0) + count
                    _purged.labels(table).inc(count)
                if count < _BATCH_SIZE or time.monotonic() > deadline.get() - _DEADLINE_MARGIN_S:
                    break


def _statement(rule: Retention) -> Query:
    is_expired = f"{rule.time} <= :before AND {rule.condition}"
    # The DELETE checks the condition again, because the row may have changed since the SELECT.
    statement = f"""
        DELETE FROM {rule.table}
        WHERE ctid = ANY(ARRAY(SELECT ctid FROM {rule.table} WHERE {is_expired} ORDER BY {rule.time} LIMIT :most))
        AND {is_expired}
    """  # noqa: S608 - table, time and condition are constants of the services' code
    return Query(
        text(statement).bindparams(
            bindparam("before", type_=DateTime(timezone=True)), bindparam("most", type_=BigInteger)
        )
    )
