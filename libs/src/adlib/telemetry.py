"""Structured logs (JSON lines on standard error) and metrics (Prometheus text)."""

import logging
import sys
from contextlib import suppress
from contextvars import ContextVar
from typing import TextIO, cast

import structlog
from prometheus_client import Counter, start_http_server

# Of the call that is being worked on; empty outside of calls.
request_id: ContextVar[str] = ContextVar("request_id", default="")
# Where the call came from (W3C Trace Context), passed on as it came.
traceparent: ContextVar[str] = ContextVar("traceparent", default="")

_lost = Counter("log_lines_lost_total", "Lines that could not be written, on a full disk for instance")

Logger = structlog.typing.FilteringBoundLogger


class _Sheltered:
    """A stream whose failures are not its writers': a full disk must not turn an answer into an error.

    A line that cannot be written is counted; what the stream itself still holds is written once there is space.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes what it can."""
        try:
            return self._stream.write(text)
        except OSError:
            _lost.inc()
            return len(text)

    def flush(self) -> None:
        """Passes it on, if that is possible."""
        with suppress(OSError):
            self._stream.flush()


def logger(name: str) -> Logger:
    """The logger of a module; its fields are key=value, never values in the text."""
    log: Logger = structlog.get_logger(module=name)
    return log


def configure_logging(service: str, level: str = "INFO") -> None:
    """Sends our log and the libraries' to standard error as JSON lines."""

    def add_context(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = service
        if current := request_id.get():
            event["request_id"] = current
        return event

    shared: list[structlog.typing.Processor] = [
        add_context,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    stream = _Sheltered(sys.stderr)
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", stream)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def serve_metrics(host: str, port: int) -> None:
    """Serves /metrics from a thread of its own; port 0 means not at all."""
    if port:
        start_http_server(port, addr=host)
