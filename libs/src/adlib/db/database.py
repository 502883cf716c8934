"""Connections, transactions, and what may go wrong with them."""

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

from adlib.db.connection import CONNECT_S, Connection, ServerSilent
from adlib.db.query import Query
from adlib.deadline import deadline
from adlib.errors import Aborted, AppError, DeadlineExceeded, Internal, InvalidArgument, Unavailable
from adlib.telemetry import logger

Row = Any  # a named tuple; its fields are the statement's columns
R = TypeVar("R")

# What the readiness check waits for an answer.
_CHECK_S = 1.0
# By SQLSTATE. Nothing is wrong with the call, and the same one works once there is room.
_LACKS = {
    "53100": "the database has no space left",
    "53200": "the database has no memory left",
    "53300": "the database has no connection left",
    "58030": "the database cannot use its disk",
}
_LACKS_SOMETHING = "the database has reached a limit of its machine"

_log = logger(__name__)


class UniqueViolated(Exception):
    """A row with that key is there already. The store that knows the constraint says what it means."""

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class CheckViolated(Exception):
    """A row would break a rule of its table. The store that knows the constraint says what it means."""

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class Session(Protocol):
    """What reads: the database itself, or a transaction."""

    def one(self, query: Query, **parameters: Any) -> Row | None:
        """The first row, or None."""
        ...

    def all(self, query: Query, **parameters: Any) -> Sequence[Row]:
        """Every row; the statement carries its own LIMIT."""
        ...


class Transaction:
    """Statements that take effect together. Made by `Database.transaction` acquired."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.after_commit: list[Callable[[], None]] = []

    def one(self, query: Query, **parameters: Any) -> Row | None:
        """The first row, or None."""
        return self._connection.execute(query.sql, query.bind(parameters)).fetchone()

    def all(self, query: Query, **parameters: Any) -> Sequence[Row]:
        """Every row; the statement carries its own LIMIT."""
        return self._connection.execute(query.sql, query.bind(parameters)).fetchall()

    def execute(self, query: Query, **parameters: Any) -> int:
        """Runs the statement; how many rows it touched."""
        return self._connection.execute(query.sql, query.bind(parameters)).rowcount

    def execute_many(self, query: Query, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs the statement once a row, pipelined."""
        with self._connection.cursor() as cursor:
            cursor.executemany(query.sql, [query.bind(row) for row in rows])

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A part that can fail, by UniqueViolated or CheckViolated, without the rest."""
        with _translated(), self._connection.transaction():
            yield


# What every transaction that is about to commit does last, in it.
before_commit: ContextVar[Callable[[Transaction], None] | None] = ContextVar("before_commit", default=None)


class Database:
    """A pool of connections to one database.

    A connection that died with the server is replaced without the caller noticing: nothing has been done on it
    yet when BEGIN fails, and a single read can be asked again.
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
        self._opened = False
        self._opening = threading.Lock()

    def close(self) -> None:
        """Gives every connection back."""
        self._pool.close()

    def one(self, query: Query, **parameters: Any) -> Row | None:
        """The first row of a read, outside of any transaction."""
        bound = query.bind(parameters)
        return self._read(lambda connection: connection.execute(query.sql, bound).fetchone())

    def all(self, query: Query, **parameters: Any) -> Sequence[Row]:
        """Every row of a read, outside of any transaction; the statement carries its own LIMIT."""
        bound = query.bind(parameters)
        return self._read(lambda connection: connection.execute(query.sql, bound).fetchall())

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Statements that take effect together, at the end of the block, or not at all."""
        with _translated(), self._begun() as connection:
            tx = Transaction(connection)
            try:
                yield tx
                if last := before_commit.get():
                    last(tx)
            except BaseException:
                if not connection.closed:
                    connection.execute("ROLLBACK")
                raise
            # A statement that failed and was passed over has undone everything: PostgreSQL answers ROLLBACK then.
            if connection.execute("COMMIT").statusmessage != "COMMIT":
                _log.error("commit_undone")
                raise Internal
        for call in tx.after_commit:
            call()

    @contextmanager
    def advisory_lock(self, name: str) -> Iterator[bool]:
        """Whether this block is the only one of that name, anywhere, while it runs (an advisory lock)."""
        with _translated(), Connection.connect(self._url, autocommit=True, connect_timeout=CONNECT_S) as connection:
            row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name]).fetchone()
            acquired = bool(row and row[0])
            try:
                yield acquired
            finally:
                # The server lets go of a closed connection's locks some time later, and the next block may come before.
                # A connection that broke has no lock to give back.
                if acquired:
                    with suppress(psycopg.OperationalError):
                        connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])

    def check(self) -> None:
        """Raises unless the server answers, soon."""
        token = deadline.set(min(deadline.get(), time.monotonic() + _CHECK_S))
        try:
            self._read(lambda connection: connection.execute("SELECT 1").fetchone())
        finally:
            deadline.reset(token)

    def _configure(self, connection: Connection) -> None:
        connection.statement_timeout_s = self._statement_timeout_s

    @contextmanager
    def _begun(self) -> Iterator[Connection]:
        """A connection in a transaction; ones that died in the pool are passed over."""
        for attempts_left in range(self._max_connections, -1, -1):
            with self._open_pool().connection() as connection:
                try:
                    connection.execute("BEGIN")
                except ServerSilent:
                    # The next one would be as silent, and wait as long.
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
        if not self._opened:
            with self._opening:
                if not self._opened:
                    self._pool.open()
                    self._opened = True
        return self._pool


@contextmanager
def _translated() -> Iterator[None]:
    """What PostgreSQL reports, in our own words; SQLSTATE and SQL stay in the log."""
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
        # psycopg's own refusal, before anything is sent: PostgreSQL keeps no such text.
        if isinstance(error, psycopg.DataError) and "NUL" in str(error):
            raise InvalidArgument("no text may contain the character U+0000") from error
        _log.error("database_error", sqlstate=error.sqlstate, error=str(error), exc_info=True)
        raise Internal from error


def _unavailable(error: Exception) -> AppError:
    sqlstate = getattr(error, "sqlstate", None) or ""
    if lack := _LACKS.get(sqlstate) or (_LACKS_SOMETHING if sqlstate.startswith("53") else ""):
        return Unavailable(f"{lack}; try again later")
    return Unavailable("the database does not answer; try again")
