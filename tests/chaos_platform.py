"""payment-service, its PostgreSQL and the sandboxes as processes that can be killed at any time.

Fakes of auth-service and of the gateway, which forwards webhooks, run in this process.
"""

import os
import random
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import httpx
from adplatform.auth.v1 import auth_pb2, auth_pb2_grpc
from adplatform.options.v1.options_pb2 import Permission
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc
from google.api.httpbody_pb2 import HttpBody

from adctl.embedded.postgres import PostgresServer
from adctl.embedded.valkey import ValkeyServer
from adctl.keys import Keys
from adctl.platform.databases import make_database
from adctl.platform.environment import inherited
from adctl.platform.processes import platform_processes
from adctl.ports import LOOPBACK, free_port
from adctl.state import State, prepare
from adctl.supervision import children, probes
from adctl.supervision.process import Process
from adtesting import Identities, eventually

START_S = 60.0
SERVICE = "payment-service"


@dataclass
class RestartableProcess:
    """A process that can be killed; `start_if_down` starts it again."""

    process: Process
    environment: dict[str, str]
    log: Path
    is_ready: Callable[[], bool]
    kills: int = 0
    _running: "subprocess.Popen[bytes] | None" = None

    def start_if_down(self) -> None:
        if self._running is None or self._running.poll() is not None:
            with self.log.open("ab") as log:
                self._running = children.spawn(self.process.command, environment=self.environment, log=log)

    def kill(self) -> None:
        self.kills += 1
        self.stop()

    def stop(self) -> None:
        if self._running:
            children.stop(self._running, signal.SIGKILL)
            self._running = None


@dataclass
class RestartablePostgres:
    """PostgreSQL as a process that can be killed and restarted."""

    server: PostgresServer
    kills: int = 0

    def start_if_down(self) -> None:
        if self.server.pid is None:
            # Processes of the killed server may hold its data directory for a moment.
            with suppress(children.ChildError):
                self.server.start()

    def kill(self) -> None:
        self.kills += 1
        self.server.kill()

    def is_ready(self) -> bool:
        return self.server.pid is not None and self.server.cluster.is_ready(self.server.pid)


class ChaosPlatform:
    """All processes and fakes; `running` starts and stops them, on the thread that spawns."""

    def __init__(self, folder: Path, stack: ExitStack, *, fsync: bool) -> None:
        self.state: State = prepare(folder / "home", free_port())
        self.keys = Keys(self.state.paths.keys)
        specs = {process.name: process for process in platform_processes(self.state)}
        self.identities = Identities()
        ports, secrets = self.state.ports, self.state.secrets
        stack.enter_context(
            ValkeyServer(folder / "valkey", port=ports["valkey"], password=secrets["valkey"], fsync=False)
        )
        server = PostgresServer(
            self.state.paths.data / "postgres", port=ports["postgres"], password=secrets["postgres"], fsync=fsync
        )
        stack.callback(server.cluster.delete)
        stack.callback(server.stop)
        self.postgres = RestartablePostgres(server)
        self.postgres.start_if_down()
        make_database(self.state, SERVICE)
        stack.enter_context(_auth_service(ports["auth-service"], self.identities))
        self.service = self._restartable(
            specs[SERVICE], lambda: probes.grpc_serving(ports[SERVICE]), PAYMENT_PROVIDERS="STRIPE"
        )
        self.channel = stack.enter_context(_channel(ports[SERVICE]))
        gateway_url = stack.enter_context(_gateway(payment_pb2_grpc.WebhookServiceStub(self.channel)))
        self.sandbox = self._restartable(
            specs["sandboxes"],
            lambda: probes.http_ok(ports["stripe-sandbox"], "/sandbox/health"),
            GATEWAY_URL=gateway_url,
            CHAIN_SANDBOX_PORT="",
        )
        self.stripe = stack.enter_context(
            httpx.Client(
                base_url=self.state.url("stripe-sandbox"),
                headers={"Authorization": f"Bearer {secrets['stripeApiKey']}"},
                timeout=10,
                trust_env=False,
                limits=httpx.Limits(max_keepalive_connections=0),
            )
        )
        self.targets = {"payment-service": self.service, "PostgreSQL": self.postgres, "Stripe": self.sandbox}
        for one in (self.sandbox, self.service):
            stack.callback(one.stop)
        self.restore()

    def restore(self) -> None:
        """Starts every stopped process, waits until all are ready, and ends the injected faults."""

        def is_restored() -> bool:
            for one in self.targets.values():
                one.start_if_down()
            return all(one.is_ready() for one in self.targets.values())

        eventually(is_restored, within_s=START_S, every_s=0.1)
        self.stripe.delete("/sandbox/behaviour").raise_for_status()

    def inject_faults(self, chance: random.Random) -> None:
        """Makes Stripe slow, failing or silent, and its webhooks duplicated, reordered, forged or dropped."""
        how: dict[str, Any] = {
            "delay_ms": chance.choice([0, 0, 0, 50, 400]),
            "fail_rate": chance.choice([0, 0, 0.1, 0.4]),
            "status": chance.choice([500, 503, 429]),
            "lose_answers": chance.random() < 0.5,
            "duplicate_webhooks": chance.random() < 0.5,
            "shuffle_webhooks": chance.random() < 0.3,
            "drop_webhooks": chance.random() < 0.3,
            "forge_webhooks": chance.random() < 0.1,
        }
        self.stripe.put("/sandbox/behaviour", json=how).raise_for_status()

    def service_headers(self, name: str) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.keys.service_token(name, SERVICE)}")]

    def organization(self) -> tuple[UUID, Callable[[], list[tuple[str, str]]]]:
        """A new organization, and a function that makes the headers of a member's call."""
        person, organization_id = self.identities.person(), uuid4()
        return organization_id, lambda: self.identities.headers(person, organization_id)

    def _restartable(self, process: Process, is_ready: Callable[[], bool], **environment: str) -> RestartableProcess:
        variables = inherited(os.environ, self.state) | dict(process.environment) | environment
        return RestartableProcess(process, variables, self.state.paths.log(process.name), is_ready)


@contextmanager
def running(folder: Path, *, fsync: bool = False) -> Iterator[ChaosPlatform]:
    """Starts the platform, and stops every process at the end."""
    with ExitStack() as stack:
        yield ChaosPlatform(folder, stack, fsync=fsync)


@contextmanager
def _channel(port: int) -> Iterator[grpc.Channel]:
    options = [("grpc.max_reconnect_backoff_ms", 200), ("grpc.initial_reconnect_backoff_ms", 50)]
    with grpc.insecure_channel(f"{LOOPBACK}:{port}", options=options) as channel:
        yield channel


@contextmanager
def _auth_service(port: int, identities: Identities) -> Iterator[None]:
    """A fake that gives every caller all payment permissions in every organization."""

    class Auth(auth_pb2_grpc.AuthServiceServicer):
        def GetJwks(self, request: auth_pb2.GetJwksRequest, context: grpc.ServicerContext) -> HttpBody:
            return HttpBody(content_type="application/json", data=identities.user_jwks().encode())

    class Access(auth_pb2_grpc.AccessServiceServicer):
        def GetAccess(
            self, request: auth_pb2.GetAccessRequest, context: grpc.ServicerContext
        ) -> auth_pb2.GetAccessResponse:
            allowed = (Permission.PAYMENTS_CREATE, Permission.PAYMENTS_READ, Permission.PAYMENTS_APPROVE)
            return auth_pb2.GetAccessResponse(
                member=True, organization_kind=auth_pb2.Organization.ADVERTISER, permissions=sorted(allowed)
            )

    server = grpc.server(ThreadPoolExecutor(8))
    auth_pb2_grpc.add_AuthServiceServicer_to_server(Auth(), server)
    auth_pb2_grpc.add_AccessServiceServicer_to_server(Access(), server)
    server.add_insecure_port(f"{LOOPBACK}:{port}")
    server.start()
    try:
        yield
    finally:
        server.stop(1).wait()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """The client was killed; its broken connection is expected."""


@contextmanager
def _gateway(webhooks: payment_pb2_grpc.WebhookServiceStub) -> Iterator[str]:
    """The URL of a proxy for Stripe's webhooks; it answers 503 while payment-service is down."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = HttpBody(content_type="application/json", data=self.rfile.read(int(self.headers["Content-Length"])))
            metadata = [("stripe-signature", self.headers.get("Stripe-Signature", ""))]
            try:
                webhooks.ReceiveStripeEvent(pb.ReceiveStripeEventRequest(body=raw), metadata=metadata, timeout=5)
            except grpc.RpcError as error:
                self.send_response(503 if error.code() is not grpc.StatusCode.UNAUTHENTICATED else 401)
            else:
                self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = _Server((LOOPBACK, 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
