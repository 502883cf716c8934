"""The verification of payment-service's ledger, as the operator."""

from collections.abc import Sequence

from adplatform.payment.v1.payment_pb2 import VerifyLedgerRequest, VerifyLedgerResponse
from adplatform.payment.v1.payment_pb2_grpc import LedgerServiceStub

from adctl.errors import UserError
from adctl.operations.operator import connect
from adctl.state import State
from adlib.errors import AppError

_SERVICE = "payment-service"
# The call reads every transfer.
_TIMEOUT_S = 60.0

Books = VerifyLedgerResponse.Currency


class LedgerError(UserError):
    """The ledger could not be verified."""


def verify(state: State) -> Sequence[Books]:
    """Return the totals of each currency, with every balance recomputed from the transfers; LedgerError."""
    with connect(state, _SERVICE, _TIMEOUT_S) as payment:
        try:
            answer = payment.call(LedgerServiceStub(payment.channel).VerifyLedger, VerifyLedgerRequest())
        except AppError as error:
            raise LedgerError(f"the ledger was not verified ({error}); is the platform up?") from None
    return answer.currencies


def is_sound(books: Books) -> bool:
    """Whether all accounts sum to 0, each equals its transfers and is within its limits, and all payments agree."""
    return not (books.sum_micros or books.difference_micros or books.overdrawn or books.payments_differing)


def summary(books: Books) -> str:
    """Return one currency's totals as a line."""
    return (
        f"{books.currency_code}: {books.accounts} accounts, {books.transfers} transfers, "
        f"sum {books.sum_micros}, difference {books.difference_micros} micros, "
        f"{books.overdrawn} overdrawn, {books.payments_differing} payments differing"
    )


def differing_payments(books: Books) -> list[str]:
    """Return a line for each payment that the answer names, and one with the number of the others."""
    lines = [f"payment {id} differs" for id in books.differing_payment_ids]
    unnamed = books.payments_differing - len(lines)
    return [*lines, f"and {unnamed} more"] if unnamed > 0 else lines
