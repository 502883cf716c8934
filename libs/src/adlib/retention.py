"""Retention rules of tables. The rules of the library's tables are beside their statements.

A service lists a rule for each table of its database in its `retention.py`. `tests/test_retention.py` fails for a table
without a rule, and `adlib.purge` deletes the rows whose retention period has ended.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retention:
    """Rows of the table that meet `condition` are deleted `days` after `time`.

    Both are SQL expressions over the table's columns; `time` needs an index. A table can have several rules.
    """

    table: str
    time: str
    days: int
    condition: str = "TRUE"


@dataclass(frozen=True, slots=True)
class NotPurged:
    """A table whose rows the job does not delete, with the reason."""

    table: str
    reason: str


Rule = Retention | NotPurged


def not_purged(reason: str, *tables: str) -> tuple[NotPurged, ...]:
    """Rules for several tables with the same reason."""
    return tuple(NotPurged(table, reason) for table in tables)
