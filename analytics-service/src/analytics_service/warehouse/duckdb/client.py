"""A DuckDB file; only this process may open it."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from adlib.config import ConfigurationError
from adlib.errors import Unavailable
from adlib.telemetry import logger

# Small, because a developer's machine runs the whole platform; a query over a million events needs a tenth of this.
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "256MB", "threads": 2}

_NO_SPACE = os.strerror(errno.ENOSPC)

_log = logger(__name__)


class DuckDbFile:
    """Opens cursors and translates DuckDB's errors. A commit is on disk when it returns."""

    def __init__(self, path: Path) -> None:
        """Opens the file; ConfigurationError if that fails."""
        self._path = path
        self._reopen_lock = threading.Lock()
        self._is_invalid = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._connect()
        except (duckdb.Error, OSError) as error:
            raise ConfigurationError(f"WAREHOUSE_PATH: {path} cannot be opened: {error}") from None

    def close(self) -> None:
        """Writes a checkpoint and closes the file."""
        self._connection.close()

    def check(self) -> None:
        """Raises UNAVAILABLE unless DuckDB answers."""
        with self.cursor() as cursor:
            cursor.execute("SELECT 1").fetchone()

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor for the calling thread. DuckDB's errors become UNAVAILABLE; their text is only logged."""
        try:
            with self._valid_connection().cursor() as cursor:
                yield cursor
        except duckdb.Error as error:
            if isinstance(error, duckdb.FatalException):
                self._is_invalid = True
            is_full = _NO_SPACE in str(error)
            _log.error("warehouse_error", error=str(error), exc_info=not is_full)
            if is_full:
                raise Unavailable("the warehouse has no space left; try again later") from error
            raise Unavailable("the warehouse does not answer; try again") from error

    def _valid_connection(self) -> duckdb.DuckDBPyConnection:
        """The connection, reopened if a checkpoint failed: DuckDB refuses all further use of such a connection.

        No commit is lost: DuckDB replays them from the write-ahead log beside the file.
        """
        if self._is_invalid:
            with self._reopen_lock:
                if self._is_invalid:
                    self._connection.close()
                    self._connection = self._connect()
                    # Raises if DuckDB returned the invalid database again, as it does while another thread uses it.
                    self._connection.execute("SELECT 1")
                    self._is_invalid = False
                    _log.info("warehouse_reopened")
        return self._connection

    def _connect(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self._path), config=_SETTINGS)
