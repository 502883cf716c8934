"""Structured logs (JSON lines on standard error) and metrics (Prometheus text)."""

import logging
import sys
from contextvars import ContextVar

import structlog
from prometheus_client import start_http_server

# Of the call that is being worked on; empty outside of calls.
request_id: ContextVar[str] = ContextVar("request_id", default="")
# Where the call came from (W3C Trace Context), passed on as it came.
traceparent: ContextVar[str] = ContextVar("traceparent", default="")

Logger = structlog.typing.FilteringBoundLogger


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
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
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
