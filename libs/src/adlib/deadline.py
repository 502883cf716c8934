"""The deadline of the current call, on the scale of time.monotonic(); its own calls must end before it."""

from contextvars import ContextVar

deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))
