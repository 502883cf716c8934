"""When the call being worked on must be answered, by time.monotonic(); what it calls gets no longer."""

from contextvars import ContextVar

deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))
