"""A gRPC server of one process: synchronous servicers on a pool of threads.

Synchronous, because a trivial unary call through grpcio's asyncio server costs half as much again
(4,100/s against 6,500/s on one core).
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
from adlib.rpc.call import Call
from adlib.rpc.contract import ContractError, rule
from adlib.telemetry import logger

# Time kept back from the caller's deadline, so that our answer still reaches it.
_MARGIN_S = 0.05
_DEFAULT_DEADLINE_S = 15.0
_CHECK_EVERY_S = 1.0
# Calls under way and waiting for a thread; the next one is refused at once instead of waiting past its deadline.
_MAX_CONCURRENT_RPCS = 512
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# Of headers: the gateway lets 32 KiB through and adds its own, and gRPC counts 32 bytes more for each.
_MAX_METADATA_BYTES = 64 * 1024
# What we pass on of a client's headers; anything else could make our own calls fail.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

_log = logger(__name__)


class Runnable(Protocol):
    """Work beside the calls, on a thread of its own."""

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a service listens. One worker process a port."""

    service: str
    ports: Sequence[int]
    host: str = "127.0.0.1"
    metrics_port: int = 0
    threads: int = 16
    drain_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """What one process of a service does.

    `servicers` maps a service of the contract to the object with its methods; `audit` is where calls that change
    something are recorded; `checks` raise while the process cannot do its work; `background` runs beside the calls;
    `closing` is called after everything has stopped.
    """

    servicers: Mapping[ServiceDescriptor, object]
    verifier: Verifier
    access: AccessSource
    audit: AuditTrail | None = None
    background: Sequence[Runnable] = ()
    checks: Sequence[Callable[[], object]] = ()
    closing: Sequence[Callable[[], object]] = ()


class Server:
    """Serves a worker on one port."""

    def __init__(self, worker: ServiceProcess, settings: Settings, port: int) -> None:
        self._worker = worker
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
                # Between the first and the second, calls would be refused at random.
                ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
                ("grpc.absolute_max_metadata_size", _MAX_METADATA_BYTES),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ],
        )
        for descriptor, servicer in worker.servicers.items():
            self._add(descriptor, servicer)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [descriptor.full_name for descriptor in worker.servicers]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        self.port = self._server.add_insecure_port(f"{settings.host}:{port}")

    def start(self) -> None:
        """Begins to answer, and starts the background work."""
        self._check()
        self._server.start()
        audit = [self._worker.audit] if self._worker.audit else []
        for runnable in [*audit, *self._worker.background]:
            self._spawn(type(runnable).__name__, runnable.run)
        self._spawn("readiness", self._watch)

    def stop(self) -> None:
        """Refuses new calls, finishes those under way and the background work, then closes what the worker opened."""
        self._health.enter_graceful_shutdown()
        self._server.stop(self._drain_s).wait()
        self._stop.set()
        for thread in self._threads:
            thread.join(self._drain_s)
        for close in self._worker.closing:
            close()

    def _add(self, descriptor: ServiceDescriptor, servicer: object) -> None:
        handlers = {method.name: self._handler(method, servicer) for method in descriptor.methods}
        generic = grpc.method_handlers_generic_handler(descriptor.full_name, handlers)
        self._server.add_generic_rpc_handlers((generic,))

    def _handler(self, method: MethodDescriptor, servicer: object) -> "grpc.RpcMethodHandler[Any, Any]":
        who = rule(method)
        own: interceptors.Handler | None = getattr(servicer, method.name, None)
        if own is None:
            raise ContractError(f"{type(servicer).__name__} does not implement {method.full_name}")
        handle = interceptors.conflicts(interceptors.validated(own))
        handle = interceptors.authorized(who, self._worker.verifier, self._worker.access, handle)
        if is_mutating(method):
            if self._worker.audit is None:
                raise ContractError(f"{method.full_name} changes something: the worker needs an audit trail")
            handle = audited(method, who, self._worker.audit, handle)
        handle = interceptors.observed(method.full_name, interceptors.readable(interceptors.unambiguous(handle)))
        return grpc.unary_unary_rpc_method_handler(
            _entry(method.full_name, handle),
            request_deserializer=interceptors.reader(GetMessageClass(method.input_type)),
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )

    def _spawn(self, name: str, run: Callable[[threading.Event], None]) -> None:
        thread = threading.Thread(target=self._keep_running, args=[name, run], name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _keep_running(self, name: str, run: Callable[[threading.Event], None]) -> None:
        """Background work goes on after whatever it did not expect, until the server stops."""
        while not self._stop.is_set():
            try:
                run(self._stop)
            except Exception:  # noqa: BLE001 - a thread that died unseen would leave its work undone for ever
                _log.error("background_failed", name=name, exc_info=True)
                self._stop.wait(_CHECK_EVERY_S)

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(_CHECK_EVERY_S):
            self._check()

    def _check(self) -> None:
        ready = True
        for check in self._worker.checks:
            try:
                check()
            except Exception as error:  # noqa: BLE001 - whatever is wrong, the answer is "not ready"
                _log.warning("not_ready", error=str(error))
                ready = False
        status = health_pb2.HealthCheckResponse
        self._health.set("", status.SERVING if ready else status.NOT_SERVING)


def _entry(method: str, handle: interceptors.Handler) -> Callable[[Message, grpc.ServicerContext], Message]:
    """Where grpcio comes in: headers and deadline into a `Call`, errors into `google.rpc.Status`."""

    def enter(request: Message, context: grpc.ServicerContext) -> Message:
        metadata = Call.headers_of(context.invocation_metadata() or ())
        call = Call(method, metadata, _whole(_REQUEST_ID, metadata.get("x-request-id")) or str(uuid.uuid4()))
        telemetry.request_id.set(call.request_id)
        telemetry.traceparent.set(_whole(_TRACEPARENT, metadata.get("traceparent")))
        remaining = context.time_remaining()
        allowed = _DEFAULT_DEADLINE_S if remaining is None else remaining - _MARGIN_S
        deadline.set(monotonic() + allowed)
        try:
            if allowed <= 0:
                raise DeadlineExceeded("the call came too late to be answered in time")
            answer = handle(request, call)
            if call.answer_headers:
                context.send_initial_metadata(tuple(call.answer_headers.items()))
            return answer
        except AppError as error:
            context.abort_with_status(rpc_status.to_status(error.status()))
            raise

    return enter


def _whole(pattern: re.Pattern[str], value: str | bytes | None) -> str:
    return value if isinstance(value, str) and pattern.fullmatch(value) else ""
