from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc
from typer.testing import CliRunner, Result

from adctl import ports
from adctl.__main__ import app
from adctl.keys import Keys
from adctl.operations.ledger import Books, LedgerError
from adctl.state import prepare


class Ledger(payment_pb2_grpc.LedgerServiceServicer):
    """Answers with the books that the test sets."""

    def __init__(self) -> None:
        self.books: list[Books] = []
        self.callers: list[str] = []

    def VerifyLedger(self, _request: pb.VerifyLedgerRequest, context: grpc.ServicerContext) -> pb.VerifyLedgerResponse:
        self.callers += [str(value) for key, value in context.invocation_metadata() if key == "authorization"]
        return pb.VerifyLedgerResponse(currencies=self.books)


@pytest.fixture
def served() -> Iterator[tuple[Ledger, int]]:
    ledger = Ledger()
    server = grpc.server(ThreadPoolExecutor(1))
    payment_pb2_grpc.add_LedgerServiceServicer_to_server(ledger, server)
    port = server.add_insecure_port(f"{ports.LOOPBACK}:0")
    server.start()
    yield ledger, port
    server.stop(None).wait()


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Result]:
    """Runs the command with payment-service at that port."""
    monkeypatch.setenv("ADPLATFORM_HOME", str(tmp_path))
    state = prepare(tmp_path, 8080)
    Keys(state.paths.keys).make()

    def run(port: int) -> Result:
        replace(state, ports={**state.ports, "payment-service": port}).save()
        return CliRunner().invoke(app, ["ledger", "verify"])

    return run


def books(currency_code: str, **wrong: int) -> Books:
    return Books(currency_code=currency_code, accounts=5, transfers=12, **wrong)


def test_verify_calls_as_operator_and_prints_sums(served: tuple[Ledger, int], verify: Callable[[int], Result]) -> None:
    ledger, port = served
    ledger.books = [books("EUR"), books("USD")]
    done = verify(port)
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        f"✓ {code}: 5 accounts, 12 transfers, sum 0, difference 0 micros, 0 overdrawn, 0 payments differing"
        for code in ("EUR", "USD")
    ]
    assert [caller.startswith("Bearer ") for caller in ledger.callers] == [True]


@pytest.mark.parametrize(
    "wrong",
    [
        books("USD", sum_micros=-7),
        books("USD", difference_micros=14),
        books("USD", overdrawn=1),
        books("USD", payments_differing=2),
    ],
    ids=["sum", "difference", "overdrawn", "payments"],
)
def test_unsound_books_exit_with_code_1(
    served: tuple[Ledger, int], verify: Callable[[int], Result], wrong: Books
) -> None:
    ledger, port = served
    ledger.books = [books("EUR"), wrong]
    done = verify(port)
    assert done.exit_code == 1
    assert (
        f"✗ USD: 5 accounts, 12 transfers, sum {wrong.sum_micros}, difference {wrong.difference_micros} micros, "
        f"{wrong.overdrawn} overdrawn, {wrong.payments_differing} payments differing" in done.output
    )
    assert "✓ EUR" in done.output


def test_differing_payments_are_listed(served: tuple[Ledger, int], verify: Callable[[int], Result]) -> None:
    ledger, port = served
    ids = ["0190-a", "0190-b"]
    ledger.books = [
        Books(currency_code="USD", accounts=5, transfers=12, payments_differing=22, differing_payment_ids=ids)
    ]
    assert verify(port).output.splitlines()[1:] == [
        "  payment 0190-a differs",
        "  payment 0190-b differs",
        "  and 20 more",
    ]


def test_ledger_without_accounts_is_sound(served: tuple[Ledger, int], verify: Callable[[int], Result]) -> None:
    done = verify(served[1])
    assert (done.exit_code, done.output) == (0, "there are no accounts yet\n")


def test_unreachable_service_asks_whether_the_platform_is_up(verify: Callable[[int], Result]) -> None:
    done = verify(ports.free_port())
    assert isinstance(done.exception, LedgerError)
    assert "is the platform up" in str(done.exception)
