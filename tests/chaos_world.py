"""payment-service, a PostgreSQL of its own and the sandboxes as processes that can be killed at any time.

Beside them, in our own process: what stands for auth-service, and for the gateway that passes webhooks on.
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

from adctl import children, probes
from adctl.embedded.postgres import PostgresServer
from adctl.embedded.valkey import ValkeyServer
from adctl.keys import Keys
from adctl.platform import inherited, make_database, processes
from adctl.ports import LOOPBACK, free_port
from adctl.process import Process
from adctl.state import State, prepare
from adtesting import Identities, eventually

START_S = 60.0
SERVICE = "payment-service"


@dataclass
class Killed:
    """A process of ours that is killed, and started again by `tend` whenever it is not there."""

    process: Process
    environment: dict[str, str]
    log: Path
    is_ready: Callable[[], bool]
    kills: int = 0
    _running: "subprocess.Popen[bytes] | None" = None

    def tend(self) -> None:
        if self._running is None or self._running.poll() is not None:
            with self.log.open("ab") as log:
                self._running = children.spawn(self.process.command, environment=self.environment, log=log)

    def kill(self) -> None:
        self.kills += 1
        self.end()

    def end(self) -> None:
        if self._running:
            children.stop(self._running, signal.SIGKILL)
            self._running = None


@dataclass
class KilledPostgres:
    """The same of PostgreSQL."""

    server: PostgresServer
    kills: int = 0

    def tend(self) -> None:
        if self.server.pid is None:
            # What a killed server leaves behind may need a moment longer.
            with suppress(children.ChildError):
                self.server.start()

    def kill(self) -> None:
        self.kills += 1
        self.server.kill()

    def is_ready(self) -> bool:
        return self.server.pid is not None and self.server.cluster.is_ready(self.server.pid)


class World:
    """Everything that runs; made and unmade by `running`, on the thread that spawns."""

    def __init__(self, folder: Path, stack: ExitStack, *, fsync: bool) -> None:
        self.state: State = prepare(folder / "home", free_port())
        self.keys = Keys(self.state.paths.keys)
        specs = {process.name: process for process in processes(self.state)}
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
        self.postgres = KilledPostgres(server)
        self.postgres.tend()
        make_database(self.state, SERVICE)
        stack.enter_context(_auth_service(ports["auth-service"], self.identities))
        self.service = self._killed(
            specs[SERVICE], lambda: probes.grpc_serving(ports[SERVICE]), PAYMENT_PROVIDERS="STRIPE"
        )
        self.channel = stack.enter_context(_channel(ports[SERVICE]))
        gateway_url = stack.enter_context(_gateway(payment_pb2_grpc.WebhookServiceStub(self.channel)))
        self.sandbox = self._killed(
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
        self.victims = {"payment-service": self.service, "PostgreSQL": self.postgres, "Stripe": self.sandbox}
        for one in (self.sandbox, self.service):
            stack.callback(one.end)
        self.heal()

    def heal(self) -> None:
        """Starts what is not there, until everything answers and behaves well."""

        def is_well() -> bool:
            for one in self.victims.values():
                one.tend()
            return all(one.is_ready() for one in self.victims.values())

        eventually(is_well, within_s=START_S, every_s=0.1)
        self.stripe.delete("/sandbox/behaviour").raise_for_status()

    def misbehave(self, chance: random.Random) -> None:
        """Has Stripe be slow, refuse, lose answers, and send webhooks twice, in any order, forged or not at all."""
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
        """A new one, and what makes the headers of a member's call."""
        person, organization_id = self.identities.person(), uuid4()
        return organization_id, lambda: self.identities.headers(person, organization_id)

    def _killed(self, process: Process, is_ready: Callable[[], bool], **environment: str) -> Killed:
        told = inherited(os.environ, self.state) | dict(process.environment) | environment
        return Killed(process, told, self.state.paths.log(process.name), is_ready)


@contextmanager
def running(folder: Path, *, fsync: bool = False) -> Iterator[World]:
    """A world that leaves no process behind."""
    with ExitStack() as stack:
        yield World(folder, stack, fsync=fsync)


@contextmanager
def _channel(port: int) -> Iterator[grpc.Channel]:
    options = [("grpc.max_reconnect_backoff_ms", 200), ("grpc.initial_reconnect_backoff_ms", 50)]
    with grpc.insecure_channel(f"{LOOPBACK}:{port}", options=options) as channel:
        yield channel


@contextmanager
def _auth_service(port: int, identities: Identities) -> Iterator[None]:
    """Everybody may do everything with payments in every organization."""

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
        """Whoever called was killed."""


@contextmanager
def _gateway(webhooks: payment_pb2_grpc.WebhookServiceStub) -> Iterator[str]:
    """The URL of what passes Stripe's webhooks on; 503 while there is nobody to pass them to."""

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
