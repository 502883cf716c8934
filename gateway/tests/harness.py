"""A real Envoy, and in-process servers behind it that answer every RPC of the contract."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import grpc
import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.api.httpbody_pb2 import HttpBody
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from adctl import ports
from adgateway import contract
from adgateway.configuration import Settings, render

DESCRIPTORS = Path(str(files("adplatform") / "gateway.pb"))
CONTRACT = contract.read(DESCRIPTORS)
SERVICES = sorted({method.service for method in CONTRACT})
ORIGIN = "http://localhost:3000"
JWKS_PATH = "/adplatform.auth.v1.AuthService/GetJwks"


def free_ports(count: int) -> list[int]:
    taken: set[int] = set()
    return [ports.choose(None, taken) for _ in range(count)]


def wait_until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """Polls until the condition is true, and returns its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)
    return value


class Tokens:
    """Signs access tokens as auth-service does, and service tokens as the scheduler does."""

    def __init__(self) -> None:
        self.access_keys = {"first": Ed25519PrivateKey.generate()}
        self.service_keys = {"scheduler": Ed25519PrivateKey.generate()}

    def access(self, kid: str = "first", key: Ed25519PrivateKey | None = None, **claims: Any) -> str:
        return _sign("adplatform-auth", kid, key or self.access_keys[kid], {"sub": "someone"} | claims)

    def service(self, audience: str, **claims: Any) -> str:
        identity = {"sub": "scheduler", "aud": audience}
        return _sign("adplatform-services", "scheduler", self.service_keys["scheduler"], identity | claims)


def _sign(issuer: str, kid: str, key: Ed25519PrivateKey, claims: Mapping[str, Any]) -> str:
    now = int(time.time())
    standard = {"iss": issuer, "aud": "adplatform", "iat": now, "exp": now + 300}
    return jwt.encode(standard | claims, key, algorithm="EdDSA", headers={"kid": kid})


def jwks(keys: Mapping[str, Ed25519PrivateKey]) -> str:
    algorithm = jwt.algorithms.OKPAlgorithm
    return json.dumps(
        {"keys": [json.loads(algorithm.to_jwk(key.public_key())) | {"kid": kid} for kid, key in keys.items()]}
    )


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@dataclass
class Call:
    """An RPC that a service received."""

    path: str
    body: bytes
    metadata: dict[str, str | bytes]
    seconds_left: float
    service_port: int


Response = Message | Callable[[Call, grpc.ServicerContext], Message]


@dataclass
class Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio's class is untyped
    """A server that answers every RPC with the response set for its path, or with an empty message."""

    port: int
    responses: dict[str, Response] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    _server: grpc.Server | None = None

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda body, context: self._respond(details, body, context))

    def _respond(self, details: grpc.HandlerCallDetails, body: bytes, context: grpc.ServicerContext) -> bytes:
        metadata = dict(details.invocation_metadata)
        call = Call(details.method, body, metadata, context.time_remaining() or 0, self.port)
        if call.path != JWKS_PATH:
            self.calls.append(call)
        response = self.responses.get(call.path)
        if callable(response):
            response = response(call, context)
        return b"" if response is None else response.SerializeToString()

    def reset(self) -> None:
        self.calls.clear()
        for path in set(self.responses) - {JWKS_PATH}:
            del self.responses[path]

    def start(self) -> None:
        # The header limits of the services' own servers.
        sizes = [(f"grpc.{name}", 64 * 1024) for name in ("max_metadata_size", "absolute_max_metadata_size")]
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0), *sizes])
        health_servicer = health.HealthServicer()
        health_servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, self._server)
        self._server.add_generic_rpc_handlers((self,))
        self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        if self._server:
            self._server.stop(None).wait()


class FakeTrackingServer:
    """In place of pixel-service's HTTP server; echoes requests."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                received = {"path": self.path, "headers": dict(self.headers), "body": body.decode()}
                response = json.dumps(received).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(response)))
                self.end_headers()
                self.wfile.write(response)

            do_POST = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *_: Any) -> None:
                """Logs nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Gateway:
    """A running Envoy and the services behind it."""

    settings: Settings
    services: dict[str, Service]
    second_worker: Service
    tokens: Tokens
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.listen_port}"

    @property
    def signed_in(self) -> dict[str, str]:
        return bearer(self.tokens.access())

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "stdout").read_text().splitlines()]

    def reset(self) -> None:
        for service in (*self.services.values(), self.second_worker):
            service.reset()

    @property
    def calls(self) -> list[Call]:
        return [call for service in (*self.services.values(), self.second_worker) for call in service.calls]


def settings(tokens: Tokens, track_port: int, **others: Any) -> Settings:
    """Settings with free ports and two workers of campaign-service."""
    listen, admin, second, *service_ports = free_ports(3 + len(SERVICES))
    endpoints = {service: [("127.0.0.1", port)] for service, port in zip(SERVICES, service_ports, strict=True)}
    endpoints["campaign-service"].append(("127.0.0.1", second))
    return Settings(
        listen_port=listen,
        admin_port=admin,
        endpoints=endpoints,
        pixel_http=[("127.0.0.1", track_port)],
        service_keys=jwks(tokens.service_keys),
        cors_origins=[ORIGIN],
        **others,
    )


@contextmanager
def gateway(folder: Path, **others: Any) -> Iterator[Gateway]:
    """Starts Envoy first, then the services: no start order is required."""
    tokens, track = Tokens(), FakeTrackingServer()
    gateway_settings = settings(tokens, track.port, **others)
    services = {name: Service(addresses[0][1]) for name, addresses in gateway_settings.endpoints.items()}
    second = Service(gateway_settings.endpoints["campaign-service"][1][1])
    services["auth-service"].responses[JWKS_PATH] = lambda call, context: HttpBody(
        content_type="application/json", data=jwks(tokens.access_keys).encode()
    )
    with ExitStack() as stack:
        stack.callback(track.stop)
        stack.enter_context(envoy(gateway_settings, folder))
        for service in (*services.values(), second):
            service.start()
            stack.callback(service.stop)
        yield Gateway(gateway_settings, services, second, tokens, folder)


def wait_until_ready(running: Gateway) -> None:
    """Waits until every worker is up and tokens are accepted."""
    wait_until(lambda: httpx.get(f"{running.url}/health").status_code == 200)
    workers = (running.services["campaign-service"], running.second_worker)

    def both_answer() -> bool:
        httpx.get(f"{running.url}/campaigns", headers=running.signed_in)
        return all(worker.calls for worker in workers)

    wait_until(both_answer)


@contextmanager
def envoy(gateway_settings: Settings, folder: Path, rendered: dict[str, Any] | None = None) -> Iterator[None]:
    """Envoy with the settings' configuration, or with `rendered` in its place."""
    configuration = folder / "envoy.json"
    configuration.write_text(json.dumps(rendered or render(gateway_settings)))
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [
                *envoy_command(configuration),
                "--concurrency",
                "1",
                "--log-level",
                "warning",
                "--file-flush-interval-msec",
                "100",
            ],
            stdout=out,
            stderr=err,
        )
        try:
            wait_until(lambda: process.poll() is not None or _listens(gateway_settings.listen_port))
            assert process.poll() is None, (folder / "stderr").read_text()
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def envoy_command(configuration: Path) -> list[str]:
    return [str(Path(sys.executable).with_name("envoy")), "-c", str(configuration), "--disable-hot-restart"]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    """The default pool, with the whole contract."""
    for file in FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
        if file.package.startswith("adplatform."):
            import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
    return descriptor_pool.Default()


def message_class(path: str, *, response: bool = False) -> type[Message]:
    """The message class of an RPC's request or response."""
    service, method = path.removeprefix("/").split("/")
    descriptor = _pool().FindServiceByName(service).FindMethodByName(method)
    return message_factory.GetMessageClass(descriptor.output_type if response else descriptor.input_type)


def example_path(template: str) -> str:
    """A path that matches the template; its variables are x1."""
    return re.sub(r"\{[^}]*\}", "x1", template)


def error_of(response: httpx.Response) -> tuple[int, str]:
    """The code and reason of an error; asserts that it has the shape in the contract."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"code", "message", "details"}
    assert body["message"]
    detail = body["details"][0]
    assert detail == {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": detail["reason"],
        "domain": "adplatform",
        "metadata": {},
    }
    return body["code"], detail["reason"]
