"""Structured logs (JSON lines on standard error) and metrics (Prometheus text)."""

import logging
import sys
from contextlib import suppress
from contextvars import ContextVar
from typing import TextIO, cast

import structlog
from prometheus_client import Counter, start_http_server

# The id of the current call; empty outside of calls.
request_id: ContextVar[str] = ContextVar("request_id", default="")
# The W3C Trace Context of the current call, passed on unchanged.
traceparent: ContextVar[str] = ContextVar("traceparent", default="")

_lost = Counter("log_lines_lost_total", "Log lines that could not be written, for instance on a full disk")

Logger = structlog.typing.FilteringBoundLogger


class _LossyStream:
    """A stream that drops and counts lines that it cannot write, so that a full disk does not fail calls.

    Lines in the stream's own buffer are written when there is space again.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes the text, or counts it as lost."""
        try:
            return self._stream.write(text)
        except OSError:
            _lost.inc()
            return len(text)

    def flush(self) -> None:
        """Flushes the stream, if that is possible."""
        with suppress(OSError):
            self._stream.flush()


def logger(name: str) -> Logger:
    """The logger of a module; pass values as key=value fields, never in the event's name."""
    log: Logger = structlog.get_logger(module=name)
    return log


def configure_logging(service: str, level: str = "INFO") -> None:
    """Sends the log of this platform and of its libraries to standard error as JSON lines."""

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
    stream = _LossyStream(sys.stderr)
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
    """Serves /metrics on its own thread, unless the port is 0."""
    if port:
        start_http_server(port, addr=host)
