"""The warehouse in a DuckDB file; this process alone writes it."""

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import sqlglot

from adlib.config import ConfigurationError
from adlib.errors import Unavailable
from adlib.telemetry import logger
from analytics_service.warehouse import statements
from analytics_service.warehouse.model import CampaignSpans, CampaignSums, Spend, Sums, TrackedEvent

# The whole platform fits a developer's machine; a query over a million events needs a tenth of this.
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "256MB", "threads": 2}

_NO_SPACE = os.strerror(errno.ENOSPC)

_log = logger(__name__)


def _duckdb(bigquery: str) -> str:
    (sql,) = sqlglot.transpile(bigquery, read="bigquery", write="duckdb")
    return sql


_TABLES = (_duckdb(statements.EVENTS), _duckdb(statements.SPEND))
_ADD_EVENTS = _duckdb(statements.ADD_EVENTS)
_ADD_SPEND = _duckdb(statements.ADD_SPEND)
_EVENT_SUMS = _duckdb(statements.EVENT_SUMS)
_SPEND_SUMS = _duckdb(statements.SPEND_SUMS)


class DuckDbWarehouse:
    """Inserts by Arrow (a thousand times as fast as row by row); a commit is on disk when it returns."""

    def __init__(self, path: Path) -> None:
        """Opens the file; ConfigurationError where it cannot be."""
        self._path = path
        self._opening = threading.Lock()
        self._is_invalid = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._open()
        except (duckdb.Error, OSError) as error:
            raise ConfigurationError(f"WAREHOUSE_PATH: {path} cannot be opened: {error}") from None
        self._writing = threading.Lock()
        for table in _TABLES:
            self._connection.execute(table)

    def close(self) -> None:
        """Writes everything into the file itself and closes it."""
        self._connection.close()

    def check(self) -> None:
        """Raises unless the warehouse answers."""
        with self._cursor() as cursor:
            cursor.execute("SELECT 1").fetchone()

    def add_events(self, events: Sequence[TrackedEvent]) -> int:
        """Stores those that are not there yet, all or none; how many. They are durable when this returns."""
        return self._add(_ADD_EVENTS, events)

    def add_spend(self, spend: Sequence[Spend]) -> int:
        """Stores those that are not there yet, all or none; how many. They are durable when this returns."""
        return self._add(_ADD_SPEND, spend)

    def sums(self, spans: CampaignSpans) -> CampaignSums:
        """What was there at one moment; a visitor of two spans is one in the total."""
        parameters = {
            "edges": list(spans.edges_micros),
            "first": spans.edges_micros[0],
            "last": spans.edges_micros[-1],
            "organization_id": spans.organization_id,
            "campaign_id": spans.campaign_id,
            "currency_code": spans.currency_code,
        }
        with self._cursor() as cursor:
            cursor.begin()
            events = {edge: counts for edge, *counts in cursor.execute(_EVENT_SUMS, parameters).fetchall()}
            spent = dict(cursor.execute(_SPEND_SUMS, parameters).fetchall())
            cursor.commit()

        def together(edge: int | None) -> Sums:
            impressions, clicks, conversions, unique_users, revenue = events.get(edge, (0, 0, 0, 0, 0))
            return Sums(impressions, clicks, conversions, unique_users, int(spent.get(edge, 0)), int(revenue))

        edges = (events.keys() | spent.keys()) - {None}
        return CampaignSums(together(None), {edge: together(edge) for edge in edges})

    def _add(self, statement: str, rows: Sequence[TrackedEvent] | Sequence[Spend]) -> int:
        distinct: dict[str, Any] = {row.event_id: row for row in rows}
        if not distinct:
            return 0
        names = [field.name for field in fields(rows[0])]
        batch = pa.table({name: [getattr(row, name) for row in distinct.values()] for name in names})
        with self._writing, self._cursor() as cursor:
            cursor.register("batch", batch)
            (added,) = cursor.execute(statement, {"oldest": min(distinct)}).fetchone() or (0,)
            return int(added)

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of this thread's own; what DuckDB reports is in the log, never in an answer."""
        try:
            with self._valid().cursor() as cursor:
                yield cursor
        except duckdb.Error as error:
            if isinstance(error, duckdb.FatalException):
                self._is_invalid = True
            is_full = _NO_SPACE in str(error)
            _log.error("warehouse_error", error=str(error), exc_info=not is_full)
            if is_full:
                raise Unavailable("the warehouse has no space left; try again later") from error
            raise Unavailable("the warehouse does not answer; try again") from error

    def _valid(self) -> duckdb.DuckDBPyConnection:
        """The connection. DuckDB uses a file no more in which it could not write its checkpoint: it is opened again.

        What was committed is in the file beside it, from which DuckDB repeats it.
        """
        if self._is_invalid:
            with self._opening:
                if self._is_invalid:
                    self._connection.close()
                    self._connection = self._open()
                    # The old one comes back for as long as another thread uses it.
                    self._connection.execute("SELECT 1")
                    self._is_invalid = False
                    _log.info("warehouse_opened_again")
        return self._connection

    def _open(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self._path), config=_SETTINGS)
