"""The warehouse in DuckDB. The SQL is written in BigQuery's dialect and transpiled."""

import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import duckdb
import pyarrow as pa
import sqlglot

from analytics_service.tables import DIMENSIONS, EVENTS, SPEND, Column, ColumnType, Record, Table
from analytics_service.warehouse.duckdb.client import DuckDbFile
from analytics_service.warehouse.model import Metrics, MetricsQuery, MetricsResult

_CREATE = "CREATE TABLE IF NOT EXISTS {table} ({columns})"
# For the rows that are stored already: an absent text is empty. DuckDB adds no column with NOT NULL.
_ADD_COLUMN = "ALTER TABLE {table} ADD COLUMN {name} {type} DEFAULT {default}"
_DEFAULTS = {ColumnType.STRING: "''", ColumnType.INT64: "0"}

# Ids are UUIDv7, so only rows with an id at or above the batch's smallest one can be duplicates.
_INSERT = """
INSERT INTO {table} ({columns})
SELECT {columns} FROM batch
WHERE NOT EXISTS (
    SELECT 1 FROM {table} AS stored WHERE stored.event_id >= @smallest_id AND stored.event_id = batch.event_id
)
"""

# Boundaries and rows are sorted together, and each row takes the last boundary before it as its interval: four times as
# fast as a join of ranges (0.09 s against 0.36 s for 300,000 events in 744 hours). ROLLUP adds the total with a NULL
# interval.
_EVENT_METRICS = """
WITH
points AS (
    SELECT
        boundary AS time_micros, 0 AS is_row, boundary,
        '' AS type, CAST(NULL AS STRING) AS visitor_id, 0 AS value_micros
    FROM UNNEST(@boundaries) AS boundary
    UNION ALL
    SELECT
        time_micros, 1 AS is_row, CAST(NULL AS INT64) AS boundary,
        type, NULLIF(visitor_id, '') AS visitor_id,
        IF(currency_code IN ('', @currency_code), value_micros, 0) AS value_micros
    FROM events
    WHERE {tenant_and_filters} AND time_micros >= @start AND time_micros < @end
),
placed AS (
    SELECT
        is_row, type, visitor_id, value_micros,
        MAX(boundary) OVER (
            ORDER BY time_micros, is_row ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS interval_start
    FROM points
)
SELECT
    interval_start,
    COUNT(IF(type = 'IMPRESSION', 1, NULL)) AS impressions,
    COUNT(IF(type = 'CLICK', 1, NULL)) AS clicks,
    COUNT(IF(type = 'CONVERSION', 1, NULL)) AS conversions,
    COUNT(DISTINCT visitor_id) AS unique_users,
    COALESCE(SUM(value_micros), 0) AS revenue_micros
FROM placed
WHERE is_row = 1
GROUP BY ROLLUP (interval_start)
"""

_SPEND_METRICS = """
WITH
points AS (
    SELECT boundary AS time_micros, 0 AS is_row, boundary, 0 AS amount_micros FROM UNNEST(@boundaries) AS boundary
    UNION ALL
    SELECT time_micros, 1 AS is_row, CAST(NULL AS INT64) AS boundary, amount_micros
    FROM spend
    WHERE
        {tenant_and_filters} AND currency_code = @currency_code
        AND time_micros >= @start AND time_micros < @end
),
placed AS (
    SELECT
        is_row, amount_micros,
        MAX(boundary) OVER (
            ORDER BY time_micros, is_row ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS interval_start
    FROM points
)
SELECT interval_start, COALESCE(SUM(amount_micros), 0) AS spend_micros
FROM placed
WHERE is_row = 1
GROUP BY ROLLUP (interval_start)
"""

_ARROW_TYPES = {ColumnType.STRING: pa.string(), ColumnType.INT64: pa.int64()}


class DuckDbWarehouse:
    """Inserts Arrow tables, a thousand times as fast as row by row."""

    def __init__(self, file: DuckDbFile) -> None:
        self._file = file
        self._write_lock = threading.Lock()
        with file.cursor() as cursor:
            for table in (EVENTS, SPEND):
                cursor.execute(_create(table))
                stored = {name for name, *_ in cursor.execute(f"DESCRIBE {table.name}").fetchall()}
                for column in table.columns:
                    if column.name not in stored:
                        cursor.execute(_add_column(table, column))

    def insert(self, table: Table[Record], records: Sequence[Record]) -> int:
        """Inserts records that are not stored yet, all or none, and returns how many; UNAVAILABLE."""
        distinct = {table.event_id(record): record for record in records}
        if not distinct:
            return 0
        batch = _batch(table, list(distinct.values()))
        with self._write_lock, self._file.cursor() as cursor:
            cursor.register("batch", batch)
            (inserted,) = cursor.execute(_insert(table), {"smallest_id": min(distinct)}).fetchone() or (0,)
            return int(inserted)

    def metrics(self, query: MetricsQuery) -> MetricsResult:
        """Aggregates one organization's rows by interval and in total; UNAVAILABLE."""
        filters = tuple(sorted(query.filters))
        parameters = {
            **query.filters,
            "organization_id": query.organization_id,
            "currency_code": query.currency_code,
            "boundaries": list(query.boundaries_micros),
            "start": query.boundaries_micros[0],
            "end": query.boundaries_micros[-1],
        }
        with self._file.cursor() as cursor:
            cursor.begin()
            events = _by_interval(cursor, _select(_EVENT_METRICS, filters), parameters)
            spend = _by_interval(cursor, _select(_SPEND_METRICS, filters), parameters)
            cursor.commit()
        metrics = {
            start: Metrics(**events.get(start, {}), **spend.get(start, {})) for start in events.keys() | spend.keys()
        }
        total = metrics.pop(None, Metrics())
        return MetricsResult(total, {start: of for start, of in metrics.items() if start is not None})


def _by_interval(
    cursor: duckdb.DuckDBPyConnection, statement: str, parameters: Mapping[str, object]
) -> dict[int | None, dict[str, int]]:
    """Each result row's columns by name, keyed by the row's interval; None is the total."""
    result = cursor.execute(statement, parameters)
    names = [column[0] for column in result.description]
    rows: list[dict[str, Any]] = [dict(zip(names, values, strict=True)) for values in result.fetchall()]
    return {row.pop("interval_start"): {name: int(value) for name, value in row.items()} for row in rows}


def _batch(table: Table[Record], records: Sequence[Record]) -> pa.Table:
    columns = {column.name: [column.value_of(record) for record in records] for column in table.columns}
    return pa.table(columns, schema=pa.schema([(column.name, _ARROW_TYPES[column.type]) for column in table.columns]))


def _create(table: Table[Any]) -> str:
    columns = ", ".join(f"{column.name} {column.type.value} NOT NULL" for column in table.columns)
    return _transpiled(_CREATE.format(table=table.name, columns=columns))


def _add_column(table: Table[Any], column: Column[Any]) -> str:
    default = _DEFAULTS[column.type]
    return _transpiled(_ADD_COLUMN.format(table=table.name, name=column.name, type=column.type.value, default=default))


def _insert(table: Table[Any]) -> str:
    return _transpiled(_INSERT.format(table=table.name, columns=", ".join(column.name for column in table.columns)))


def _select(template: str, filters: Sequence[str]) -> str:
    """The statement for one organization's rows with these dimensions filtered."""
    if unknown := set(filters) - set(DIMENSIONS):
        raise ValueError(f"not a dimension: {', '.join(sorted(unknown))}")
    conditions = " AND ".join(f"{name} = @{name}" for name in ("organization_id", *filters))
    return _transpiled(template.format(tenant_and_filters=conditions))


@lru_cache
def _transpiled(statement: str) -> str:
    (sql,) = sqlglot.transpile(statement, read="bigquery", write="duckdb")
    return sql
