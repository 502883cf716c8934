"""The connection pool, transactions, and the translation of PostgreSQL's errors."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg import errors as pg
from psycopg.rows import namedtuple_row
from psycopg_pool import ConnectionPool, PoolTimeout, TooManyRequests
from typing_extensions import override

from adlib.db.connection import CONNECT_S, Connection, ServerSilent
from adlib.db.query import Query
from adlib.deadline import deadline
from adlib.errors import Aborted, AppError, DeadlineExceeded, Internal, InvalidArgument, Unavailable
from adlib.telemetry import logger

Row = Any  # a named tuple; its fields are the statement's columns
R = TypeVar("R")

_CHECK_TIMEOUT_S = 1.0
# By SQLSTATE. The call itself is valid and succeeds when the resource is available again.
_EXHAUSTED_RESOURCES = {
    "53100": "the database has no space left",
    "53200": "the database has no memory left",
    "53300": "the database has no connection left",
    "58030": "the database cannot use its disk",
}
_EXHAUSTED_RESOURCE = "the database has reached a limit of its machine"

_log = logger(__name__)


class UniqueViolated(Exception):
    """A unique constraint refused the row; the store that knows the constraint raises a specific error."""

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class CheckViolated(Exception):
    """A check constraint refused the row; the store that knows the constraint raises a specific error."""

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class Session(Protocol):
    """Reads rows: the database itself, or a transaction."""

    def one(self, query: Query, **parameters: Any) -> Row | None:
        """Runs the statement and returns its first row, or None."""
        ...

    def all(self, query: Query, **parameters: Any) -> Sequence[Row]:
        """Runs the statement and returns all its rows; the statement has its own LIMIT."""
        ...


class Transaction(Session):
    """An open transaction, created by `Database.transaction`; `after_commit` is called when it has committed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.after_commit: list[Callable[[], None]] = []

    @override
    def one(self, query: Query, **parameters: Any) -> Row | None:
        return self._connection.execute(query.sql, query.bind(parameters)).fetchone()

    @override
    def all(self, query: Query, **parameters: Any) -> Sequence[Row]:
        return self._connection.execute(query.sql, query.bind(parameters)).fetchall()

    def execute(self, query: Query, **parameters: Any) -> int:
        """Runs the statement and returns the number of rows that it affected."""
        return self._connection.execute(query.sql, query.bind(parameters)).rowcount

    def execute_many(self, query: Query, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs the statement once for each row of parameters, pipelined."""
        with self._connection.cursor() as cursor:
            cursor.executemany(query.sql, [query.bind(row) for row in rows])

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Rolls back only this block if it raises, for instance UniqueViolated or CheckViolated."""
        with _translated(), self._connection.transaction():
            yield


# Called as the last step of every transaction, before its COMMIT.
before_commit: ContextVar[Callable[[Transaction], None] | None] = ContextVar("before_commit", default=None)


class Database(Session):
    """A pool of connections to one database. Its methods raise Unavailable, DeadlineExceeded and Aborted.

    A broken connection is replaced without an error: if BEGIN fails nothing has happened yet, and a single read can be
    repeated.
    """

    def __init__(self, url: str, *, max_connections: int = 8, wait_s: float = 3.0, statement_timeout_ms: int = 10_000):
        self._url = url
        self._max_connections = max_connections
        self._wait_s = wait_s
        self._statement_timeout_s = statement_timeout_ms / 1000
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            min_size=1,
            max_size=max_connections,
            max_waiting=256,
            timeout=wait_s,
            connection_class=Connection,
            configure=self._configure,
            kwargs={
                "autocommit": True,
                "connect_timeout": CONNECT_S,
                "prepare_threshold": 1,
                "row_factory": namedtuple_row,
                "options": f"-c statement_timeout={statement_timeout_ms} -c timezone=UTC",
            },
            open=False,
        )
        self._is_open = False
        self._open_lock = threading.Lock()

    def close(self) -> None:
        """Closes every connection."""
        self._pool.close()

    @override
    def one(self, query: Query, **parameters: Any) -> Row | None:
        bound = query.bind(parameters)
        return self._read(lambda connection: connection.execute(query.sql, bound).fetchone())

    @override
    def all(self, query: Query, **parameters: Any) -> Sequence[Row]:
        bound = query.bind(parameters)
        return self._read(lambda connection: connection.execute(query.sql, bound).fetchall())

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commits at the end of the block; rolls back if the block raises."""
        with _translated(), self._connection_in_transaction() as connection:
            tx = Transaction(connection)
            try:
                yield tx
                if last := before_commit.get():
                    last(tx)
            except BaseException:
                if not connection.closed:
                    connection.execute("ROLLBACK")
                raise
            # If the block ignored an error of a statement, PostgreSQL has rolled back and answers ROLLBACK.
            if connection.execute("COMMIT").statusmessage != "COMMIT":
                _log.error("commit_rolled_back")
                raise Internal
        for call in tx.after_commit:
            call()

    @contextmanager
    def advisory_lock(self, name: str) -> Iterator[bool]:
        """Tries to acquire a PostgreSQL advisory lock for the block, without waiting; yields whether it did."""
        with _translated(), Connection.connect(self._url, autocommit=True, connect_timeout=CONNECT_S) as connection:
            row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name]).fetchone()
            acquired = bool(row and row[0])
            try:
                yield acquired
            finally:
                # Released explicitly, because the server releases a closed connection's lock with a delay, and the
                # next attempt would fail meanwhile. A broken connection has no lock to release.
                if acquired:
                    with suppress(psycopg.OperationalError):
                        connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])

    def check(self) -> None:
        """Raises unless the server answers: within 1 s, after at most 3 s for a connection from the pool."""
        token = deadline.set(min(deadline.get(), time.monotonic() + _CHECK_TIMEOUT_S))
        try:
            self._read(lambda connection: connection.execute("SELECT 1").fetchone())
        finally:
            deadline.reset(token)

    def _configure(self, connection: Connection) -> None:
        connection.statement_timeout_s = self._statement_timeout_s

    @contextmanager
    def _connection_in_transaction(self) -> Iterator[Connection]:
        """Begins a transaction on a connection from the pool; skips broken connections."""
        for attempts_left in range(self._max_connections, -1, -1):
            with self._open_pool().connection() as connection:
                try:
                    connection.execute("BEGIN")
                except ServerSilent:
                    # Not retried: another connection would wait as long.
                    raise
                except psycopg.OperationalError:
                    if not (connection.closed and attempts_left):
                        raise
                    continue
                yield connection
                return

    def _read(self, run: Callable[[Connection], R]) -> R:
        with _translated():
            for attempts_left in range(self._max_connections, -1, -1):
                with self._open_pool().connection() as connection:
                    try:
                        return run(connection)
                    except ServerSilent:
                        raise
                    except psycopg.OperationalError:
                        if not (connection.closed and attempts_left):
                            raise
            raise Unavailable("the database does not answer; try again")

    def _open_pool(self) -> "ConnectionPool[Connection]":
        if not self._is_open:
            with self._open_lock:
                if not self._is_open:
                    self._pool.open()
                    self._is_open = True
        return self._pool


@contextmanager
def _translated() -> Iterator[None]:
    """Translates PostgreSQL's errors to `adlib.errors`; SQLSTATE and SQL are only logged."""
    try:
        yield
    except pg.UniqueViolation as error:
        raise UniqueViolated(error.diag.constraint_name or "") from error
    except pg.CheckViolation as error:
        raise CheckViolated(error.diag.constraint_name or "") from error
    except (pg.SerializationFailure, pg.DeadlockDetected, pg.LockNotAvailable) as error:
        raise Aborted("another call is changing the same; try again") from error
    except pg.QueryCanceled as error:
        raise DeadlineExceeded("the database took too long; try again") from error
    except (psycopg.OperationalError, PoolTimeout, TooManyRequests) as error:
        _log.warning("database_unavailable", sqlstate=getattr(error, "sqlstate", None), error=str(error))
        raise _unavailable(error) from error
    except psycopg.Error as error:
        # psycopg refuses NUL before it sends the statement, because PostgreSQL cannot store it.
        if isinstance(error, psycopg.DataError) and "NUL" in str(error):
            raise InvalidArgument("no text may contain the character U+0000") from error
        _log.error("database_error", sqlstate=error.sqlstate, error=str(error), exc_info=True)
        raise Internal from error


def _unavailable(error: Exception) -> AppError:
    sqlstate = getattr(error, "sqlstate", None) or ""
    if exhausted := _EXHAUSTED_RESOURCES.get(sqlstate) or (_EXHAUSTED_RESOURCE if sqlstate.startswith("53") else ""):
        return Unavailable(f"{exhausted}; try again later")
    return Unavailable("the database does not answer; try again")
