"""The sandboxes as a real process, and a gateway that records the webhooks that it receives."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

STRIPE_KEY = "sk_test_sandbox"
WEBHOOK_SECRET = "whsec_sandbox"
TOKEN = "token-of-the-tests"
PROFILE = 4_000_001


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.raw)
        return found


@dataclass
class Receiver:
    """Answers 200, or first the statuses that a test queues."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, delivery: Received) -> int:
        with self.changed:
            self.received.append(delivery)
            self.changed.notify_all()
            return self.answers.pop(0) if self.answers else 200

    def about(self, mention: str, count: int, timeout_s: float = 5) -> list[Received]:
        """Waits until this many deliveries contain the text in their bodies, and returns them."""

        def found() -> list[Received]:
            return [delivery for delivery in self.received if mention.encode() in delivery.raw]

        with self.changed:
            arrived = self.changed.wait_for(lambda: len(found()) >= count, timeout_s)
            assert arrived, f"{len(found())} of {count} deliveries about {mention} within {timeout_s} s"
            return found()


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    recorder = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(recorder.take(Received(self.path, headers, raw)))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    recorder.url = f"http://127.0.0.1:{server.server_port}"
    yield recorder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def wise_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Process:
    """A running `python -m adsandbox` and clients of its servers."""

    process: subprocess.Popen[str]
    ports: dict[str, int]
    state_dir: Path
    stripe: httpx.Client
    traffic_engine: httpx.Client
    wise: httpx.Client
    mail: httpx.Client

    @property
    def stripe_client(self) -> stripe.StripeClient:
        url = str(self.stripe.base_url).rstrip("/")
        return stripe.StripeClient(STRIPE_KEY, base_addresses={"api": url}, max_network_retries=0)

    @property
    def clients(self) -> tuple[httpx.Client, ...]:
        return (self.stripe, self.traffic_engine, self.wise, self.mail)

    def close(self) -> None:
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=10)


Start = Callable[..., Process]


@pytest.fixture(scope="session")
def start(receiver: Receiver, wise_key: rsa.RSAPrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    key_file = tmp_path_factory.mktemp("keys") / "wise.pem"
    key_file.write_bytes(wise_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    started: list[Process] = []

    def run(state_dir: Path, **changes: str) -> Process:
        environment = {
            "STRIPE_SANDBOX_PORT": "0",
            "TRAFFIC_ENGINE_SANDBOX_PORT": "0",
            "WISE_SANDBOX_PORT": "0",
            "MAIL_SANDBOX_PORT": "0",
            "MAIL_SANDBOX_SMTP_PORT": "0",
            "SANDBOX_STATE_DIR": str(state_dir),
            "GATEWAY_URL": receiver.url,
            "STRIPE_API_KEY": STRIPE_KEY,
            "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "TRAFFIC_ENGINE_TOKEN": TOKEN,
            "WISE_API_TOKEN": TOKEN,
            "WISE_PROFILE_ID": str(PROFILE),
            "WISE_WEBHOOK_PRIVATE_KEY_FILE": str(key_file),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "adsandbox"],
            env={**os.environ, **environment, **changes},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "listening" in line, line + process.stderr.read()
        ports: dict[str, int] = json.loads(json.loads(line)["message"].removeprefix("listening "))

        def client(name: str, token: str) -> httpx.Client:
            return httpx.Client(
                base_url=f"http://127.0.0.1:{ports[name]}", headers={"Authorization": f"Bearer {token}"}, timeout=10
            )

        sandbox = Process(
            process,
            ports,
            state_dir,
            client("stripe-sandbox", STRIPE_KEY),
            client("traffic-engine-sandbox", TOKEN),
            client("wise-sandbox", TOKEN),
            client("mail-sandbox", TOKEN),
        )
        started.append(sandbox)
        return sandbox

    yield run
    for one in started:
        one.close()


@pytest.fixture(scope="session")
def shared(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Process:
    return start(tmp_path_factory.mktemp("state"))


@pytest.fixture
def sandboxes(shared: Process, receiver: Receiver) -> Iterator[Process]:
    """The shared process, without misbehaviour before and after the test."""
    yield shared
    receiver.answers.clear()
    for client in shared.clients:
        client.delete("/sandbox/behaviour").raise_for_status()
