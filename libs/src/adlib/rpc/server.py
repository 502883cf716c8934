"""The gRPC server of one process: synchronous servicers on a thread pool.

grpcio's synchronous server answers 6,500 trivial unary calls/s on one core, its asyncio server 4,100/s.
"""

import re
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from adlib import telemetry
from adlib.access import AccessSource
from adlib.audit import AuditTrail
from adlib.deadline import deadline
from adlib.errors import AppError, DeadlineExceeded
from adlib.identity import Verifier
from adlib.rpc import interceptors
from adlib.rpc.audit import audited, is_mutating
from adlib.rpc.authorization import authorized
from adlib.rpc.call import Call
from adlib.rpc.contract import ContractError, rule
from adlib.telemetry import logger

# Reserved within the caller's deadline, so that the answer arrives before it.
_DEADLINE_MARGIN_S = 0.05
_DEFAULT_DEADLINE_S = 15.0
_CHECK_INTERVAL_S = 1.0
# Running calls and those waiting for a thread; further calls are refused instead of waiting past their deadline.
_MAX_CONCURRENT_RPCS = 512
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# The gateway admits 32 KiB of headers and adds its own; gRPC counts 32 bytes more for each header.
_MAX_METADATA_BYTES = 64 * 1024
# Headers that are passed on to other services; a value of another form could make these calls fail.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

_log = logger(__name__)


class Runnable(Protocol):
    """Background work, which runs on its own thread."""

    def run(self, stop: threading.Event) -> None:
        """Runs until `stop` is set."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """The addresses and limits of a service's servers; one worker process per port."""

    service: str
    ports: Sequence[int]
    host: str = "127.0.0.1"
    metrics_port: int = 0
    threads: int = 16
    drain_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """The parts of one process of a service.

    `servicers` maps each service of the contract to its implementation; `audit` records mutating calls; `background`
    runs on threads beside the calls; `checks` raise while the process is not ready; `closing` is called in order after
    everything has stopped.
    """

    servicers: Mapping[ServiceDescriptor, object]
    verifier: Verifier
    access: AccessSource
    audit: AuditTrail | None = None
    background: Sequence[Runnable] = ()
    checks: Sequence[Callable[[], object]] = ()
    closing: Sequence[Callable[[], object]] = ()


class Server:
    """Serves a process on one port."""

    def __init__(self, process: ServiceProcess, settings: Settings, port: int) -> None:
        self._process = process
        self._drain_s = settings.drain_s
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._health = health.HealthServicer()
        self._server = grpc.server(
            ThreadPoolExecutor(settings.threads, thread_name_prefix="rpc"),
            maximum_concurrent_rpcs=_MAX_CONCURRENT_RPCS,
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                # Both limits are equal, because gRPC refuses metadata of a size between them at random.
                ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
                ("grpc.absolute_max_metadata_size", _MAX_METADATA_BYTES),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ],
        )
        for descriptor, servicer in process.servicers.items():
            self._add(descriptor, servicer)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [descriptor.full_name for descriptor in process.servicers]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        self.port = self._server.add_insecure_port(f"{settings.host}:{port}")

    def start(self) -> None:
        """Starts to answer calls, and starts the background work."""
        self._check()
        self._server.start()
        audit = [self._process.audit] if self._process.audit else []
        for runnable in [*audit, *self._process.background]:
            self._start_thread(type(runnable).__name__, runnable.run)
        self._start_thread("readiness", self._check_repeatedly)

    def stop(self) -> None:
        """Refuses new calls, waits for running calls and the background work, then closes the process's resources."""
        self._health.enter_graceful_shutdown()
        self._server.stop(self._drain_s).wait()
        self._stop.set()
        for thread in self._threads:
            thread.join(self._drain_s)
        for close in self._process.closing:
            close()

    def _add(self, descriptor: ServiceDescriptor, servicer: object) -> None:
        handlers = {method.name: self._handler(method, servicer) for method in descriptor.methods}
        generic = grpc.method_handlers_generic_handler(descriptor.full_name, handlers)
        self._server.add_generic_rpc_handlers((generic,))

    def _handler(self, method: MethodDescriptor, servicer: object) -> "grpc.RpcMethodHandler[Any, Any]":
        method_rule = rule(method)
        implementation: interceptors.Handler | None = getattr(servicer, method.name, None)
        if implementation is None:
            raise ContractError(f"{type(servicer).__name__} does not implement {method.full_name}")
        handle = interceptors.conflicts(interceptors.validated(implementation))
        handle = authorized(method_rule, self._process.verifier, self._process.access, handle)
        if is_mutating(method):
            if self._process.audit is None:
                raise ContractError(f"{method.full_name} changes state: the process needs an audit trail")
            handle = audited(method, method_rule, self._process.audit, handle)
        handle = interceptors.observed(method.full_name, interceptors.readable(interceptors.unambiguous(handle)))
        return grpc.unary_unary_rpc_method_handler(
            _entry(method.full_name, handle),
            request_deserializer=interceptors.reader(GetMessageClass(method.input_type)),
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )

    def _start_thread(self, name: str, run: Callable[[threading.Event], None]) -> None:
        thread = threading.Thread(target=self._run_repeatedly, args=[name, run], name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _run_repeatedly(self, name: str, run: Callable[[threading.Event], None]) -> None:
        """Restarts background work after an unexpected exception, until the server stops."""
        while not self._stop.is_set():
            try:
                run(self._stop)
            except Exception:  # noqa: BLE001 - otherwise the thread would end, and its work would stop unnoticed
                _log.error("background_failed", name=name, exc_info=True)
                self._stop.wait(_CHECK_INTERVAL_S)

    def _check_repeatedly(self, stop: threading.Event) -> None:
        while not stop.wait(_CHECK_INTERVAL_S):
            self._check()

    def _check(self) -> None:
        ready = True
        for check in self._process.checks:
            try:
                check()
            except Exception as error:  # noqa: BLE001 - any exception means "not ready"
                _log.warning("not_ready", error=str(error))
                ready = False
        status = health_pb2.HealthCheckResponse
        self._health.set("", status.SERVING if ready else status.NOT_SERVING)


def _entry(method: str, handle: interceptors.Handler) -> Callable[[Message, grpc.ServicerContext], Message]:
    """Adapts a handler to grpcio: makes the `Call`, sets the deadline, and answers errors as `google.rpc.Status`."""

    def enter(request: Message, context: grpc.ServicerContext) -> Message:
        metadata = Call.headers_of(context.invocation_metadata() or ())
        call = Call(method, metadata, _matching(_REQUEST_ID, metadata.get("x-request-id")) or str(uuid.uuid4()))
        telemetry.request_id.set(call.request_id)
        telemetry.traceparent.set(_matching(_TRACEPARENT, metadata.get("traceparent")))
        remaining_s = context.time_remaining()
        timeout_s = _DEFAULT_DEADLINE_S if remaining_s is None else remaining_s - _DEADLINE_MARGIN_S
        deadline.set(monotonic() + timeout_s)
        try:
            if timeout_s <= 0:
                raise DeadlineExceeded("the deadline of the call is too short for an answer")
            answer = handle(request, call)
            if call.answer_headers:
                context.send_initial_metadata(tuple(call.answer_headers.items()))
            return answer
        except AppError as error:
            context.abort_with_status(rpc_status.to_status(error.status()))
            raise

    return enter


def _matching(pattern: re.Pattern[str], value: str | bytes | None) -> str:
    return value if isinstance(value, str) and pattern.fullmatch(value) else ""
