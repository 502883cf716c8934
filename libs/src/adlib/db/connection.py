"""A connection that does not wait for ever for a server that is there and does not answer."""

import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

from adlib.deadline import deadline

RV = TypeVar("RV")

# For a server's own report that the statement took too long, and for a commit at the very end of a call's time.
_GRACE_S = 1.0
CONNECT_S = 3


class ServerSilent(psycopg.OperationalError):
    """The server holds the connection and says nothing: it is frozen, or the network swallows what it says."""


class Connection(psycopg.Connection[Any]):
    """Waits for an answer as long as a statement and the call may take; PostgreSQL's own limits need one that runs."""

    statement_timeout_s = 10.0

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Runs a step of the protocol; ServerSilent, and the connection is closed."""
        longest = min(self.statement_timeout_s, max(deadline.get() - time.monotonic(), 0.0)) + _GRACE_S
        try:
            return super().wait(gen, interval, longest if timeout is None else timeout)
        except psycopg.errors._WaitTimeout as error:
            # Its answer may still come, and would be taken for that of the next statement.
            self.pgconn.finish()
            raise ServerSilent(f"the server did not answer for {longest:.1f} s") from error
