"""A connection with a time limit on the client's side, for a server that is frozen or unreachable."""

import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

from adlib.deadline import deadline

RV = TypeVar("RV")

# Leaves time for the server's own statement timeout, and for a COMMIT at the end of a call's deadline.
_GRACE_S = 1.0
CONNECT_S = 3


class ServerSilent(psycopg.OperationalError):
    """The server did not answer in time: it is frozen, or the network drops packets."""


class Connection(psycopg.Connection[Any]):
    """Limits the wait for an answer to the statement timeout and the call's deadline, plus 1 s.

    PostgreSQL's own `statement_timeout` has no effect when the server itself is frozen.
    """

    statement_timeout_s = 10.0

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Runs a step of the protocol; raises ServerSilent and closes the connection at the time limit."""
        limit_s = min(self.statement_timeout_s, max(deadline.get() - time.monotonic(), 0.0)) + _GRACE_S
        try:
            return super().wait(gen, interval, limit_s if timeout is None else timeout)
        except psycopg.errors._WaitTimeout as error:
            # A late answer would be read as the answer to the next statement.
            self.pgconn.finish()
            raise ServerSilent(f"the server did not answer for {limit_s:.1f} s") from error
