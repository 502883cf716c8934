"""`adctl payments quarantine`, with a fake of payment-service."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from adplatform.payment.v1 import quarantine_pb2 as pb
from adplatform.payment.v1 import quarantine_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_status import rpc_status
from typer.testing import CliRunner, Result

from adctl import ports
from adctl.__main__ import app
from adctl.keys import Keys
from adctl.operations.quarantine import QuarantineError
from adctl.state import prepare
from adlib.errors import NotFound

Run = Callable[..., Result]


def at(minute: int) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(datetime(2026, 5, 1, 10, minute, tzinfo=UTC))
    return made


def item(number: int, **changes: object) -> pb.QuarantinedItem:
    fields: dict[str, object] = {
        "id": f"0190-{number}", "kind": pb.QuarantinedItem.EVENT, "provider": "STRIPE", "subject": f"evt_{number}",
        "last_error": "KeyError: 'amount'", "failure_count": 5, "first_failure_time": at(0),
        "last_failure_time": at(20), "quarantine_time": at(20),
    }  # fmt: skip
    return pb.QuarantinedItem(**{**fields, **changes})


class Quarantine(quarantine_pb2_grpc.QuarantineServiceServicer):
    """Serves two pages of items, and records its calls."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[list[pb.QuarantinedItem], str]] = {"": ([], "")}
        self.retried: list[str] = []
        self.discarded: list[tuple[str, str]] = []
        self.callers: list[str] = []

    def ListQuarantined(
        self, request: pb.ListQuarantinedRequest, context: grpc.ServicerContext
    ) -> pb.ListQuarantinedResponse:
        self.callers += [str(value) for key, value in context.invocation_metadata() if key == "authorization"]
        items, token = self.pages[request.page_token]
        return pb.ListQuarantinedResponse(items=items, next_page_token=token)

    def GetQuarantined(self, request: pb.GetQuarantinedRequest, context: grpc.ServicerContext) -> pb.QuarantinedItem:
        if request.id == "0190-9":
            missing = NotFound("there is no such item in quarantine")
            context.abort_with_status(rpc_status.to_status(missing.status()))
        return item(1, last_error="x" * 200)

    def RetryQuarantined(
        self, request: pb.RetryQuarantinedRequest, _context: grpc.ServicerContext
    ) -> pb.RetryQuarantinedResponse:
        self.retried.append(request.id)
        return pb.RetryQuarantinedResponse()

    def DiscardQuarantined(
        self, request: pb.DiscardQuarantinedRequest, _context: grpc.ServicerContext
    ) -> pb.QuarantinedItem:
        self.discarded.append((request.id, request.reason))
        return item(1, discard_time=at(30), discard_reason=request.reason)


@pytest.fixture
def quarantine() -> Quarantine:
    return Quarantine()


@pytest.fixture
def port(quarantine: Quarantine) -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(1))
    quarantine_pb2_grpc.add_QuarantineServiceServicer_to_server(quarantine, server)
    port = server.add_insecure_port(f"{ports.LOOPBACK}:0")
    server.start()
    yield port
    server.stop(None).wait()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int) -> Run:
    """Runs a command of the quarantine."""
    monkeypatch.setenv("ADPLATFORM_HOME", str(tmp_path))
    state = prepare(tmp_path, 8080)
    Keys(state.paths.keys).make()

    def call(*arguments: str, service_port: int = port) -> Result:
        replace(state, ports={**state.ports, "payment-service": service_port}).save()
        return CliRunner().invoke(app, ["payments", "quarantine", *arguments])

    return call


def test_list_reads_all_pages_as_operator(run: Run, quarantine: Quarantine) -> None:
    payment = item(2, kind=pb.QuarantinedItem.PAYMENT, provider="", subject="0191-7", last_error="y" * 100)
    quarantine.pages = {"": ([item(1)], "more"), "more": ([payment], "")}
    done = run("list")
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "0190-1  2026-05-01 10:20:00 UTC  event STRIPE evt_1: KeyError: 'amount'",
        f"0190-2  2026-05-01 10:20:00 UTC  payment 0191-7: {'y' * 79}…",
    ]
    assert [caller.startswith("Bearer ") for caller in quarantine.callers] == [True, True]


def test_empty_quarantine_is_reported(run: Run) -> None:
    assert run("list").output == "nothing is in quarantine\n"


def test_show_prints_all_fields_of_an_item(run: Run) -> None:
    assert run("show", "0190-1").output.splitlines() == [
        "item          event STRIPE evt_1",
        f"last error    {'x' * 200}",
        "failed        5 times, 2026-05-01 10:00:00 UTC to 2026-05-01 10:20:00 UTC",
        "quarantined   2026-05-01 10:20:00 UTC",
    ]


def test_retry_returns_an_item_to_the_job(run: Run, quarantine: Quarantine) -> None:
    done = run("retry", "0190-1")
    assert (done.exit_code, quarantine.retried) == (0, ["0190-1"])
    assert "settle-payments" in done.output


def test_discard_requires_a_reason(run: Run, quarantine: Quarantine) -> None:
    assert run("discard", "0190-1").exit_code == 2
    done = run("discard", "0190-1", "--reason", "a test of Stripe's")
    assert (done.exit_code, quarantine.discarded) == (0, [("0190-1", "a test of Stripe's")])
    assert done.output.splitlines()[-1] == "discarded     2026-05-01 10:30:00 UTC: a test of Stripe's"


def test_refusals_and_unreachable_service_are_reported(run: Run) -> None:
    done = run("show", "0190-9")
    assert isinstance(done.exception, QuarantineError)
    assert "there is no such item in quarantine" in str(done.exception)
    assert isinstance(run("list", service_port=ports.free_port()).exception, QuarantineError)
