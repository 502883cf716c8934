"""A SQLite file for each sandbox: its state, which survives kill -9."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Database:
    """A single connection, used from the event loop's thread only. Nothing is cached."""

    def __init__(self, path: Path, *schemas: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=5)
        self._connection.row_factory = sqlite3.Row
        # With WAL, NORMAL loses nothing when the process is killed; a power cut may lose the last commits.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        for schema in schemas:
            self._connection.executescript(schema)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the block's statements, or roll them back on an exception. Blocks do not nest and do not await."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def execute(self, statement: str, parameters: Mapping[str, Any] | tuple[Any, ...] = ()) -> int:
        """Execute a statement; return the id of the inserted row, or 0."""
        return self._connection.execute(statement, parameters).lastrowid or 0

    def row(self, statement: str, parameters: Mapping[str, Any] | tuple[Any, ...] = ()) -> sqlite3.Row | None:
        """Return the first row."""
        found: sqlite3.Row | None = self._connection.execute(statement, parameters).fetchone()
        return found

    def rows(self, statement: str, parameters: Mapping[str, Any] | tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        """Return all rows."""
        return self._connection.execute(statement, parameters).fetchall()

    def close(self) -> None:
        """Merge the write-ahead log into the file and close it."""
        self._connection.close()
