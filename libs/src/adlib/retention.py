"""How long rows are kept: stated once a table. The library's tables have theirs beside their statements.

A service lists a rule for each table of its database, in its `retention.py`; `tests/test_retention.py` finds a table
without one, and `adlib.purge` deletes what is over.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retention:
    """Rows of a table are deleted so many days after `time`, where `condition` holds.

    Both are SQL of the table's columns; the time has an index. A table may have several.
    """

    table: str
    time: str
    days: int
    condition: str = "TRUE"


@dataclass(frozen=True, slots=True)
class NotPurged:
    """A table that the job deletes nothing of, and why that may be so."""

    table: str
    reason: str


Rule = Retention | NotPurged


def not_purged(reason: str, *tables: str) -> tuple[NotPurged, ...]:
    """The same reason for several tables."""
    return tuple(NotPurged(table, reason) for table in tables)
