"""The books of payment-service, verified by the operator."""

from collections.abc import Iterator, Sequence

from adplatform.payment.v1.payment_pb2 import VerifyLedgerRequest, VerifyLedgerResponse
from adplatform.payment.v1.payment_pb2_grpc import LedgerServiceStub

from adctl.children import ChildError
from adctl.operator_calls import operator
from adctl.state import State
from adlib.errors import AppError

_SERVICE = "payment-service"
# It reads every transfer there is.
_TIMEOUT_S = 60.0

Books = VerifyLedgerResponse.Currency


class LedgerError(ChildError):
    """The books could not be verified; the text is for people."""


def verify(state: State) -> Sequence[Books]:
    """What each currency's books add up to when every balance is derived anew; LedgerError when nobody answers."""
    with operator(state, _SERVICE, _TIMEOUT_S) as payment:
        try:
            answer = payment.call(LedgerServiceStub(payment.channel).VerifyLedger, VerifyLedgerRequest())
        except AppError as error:
            raise LedgerError(f"the ledger was not verified ({error}); is the platform up?") from None
    return answer.currencies


def is_sound(books: Books) -> bool:
    """Whether all accounts add up to 0, each is what its transfers make it, and none is beyond its limits, and every
    payment has what the ledger has for it."""
    return not (books.sum_micros or books.difference_micros or books.overdrawn or books.payments_differing)


def described(books: Books) -> str:
    """One currency's books in a line."""
    return (
        f"{books.currency_code}: {books.accounts} accounts, {books.transfers} transfers, "
        f"sum {books.sum_micros}, difference {books.difference_micros} micros, "
        f"{books.overdrawn} overdrawn, {books.payments_differing} payments differing"
    )


def differing(books: Books) -> Iterator[str]:
    """The payments that differ, a line each; the last says how many are not named."""
    yield from (f"payment {id} differs" for id in books.differing_payment_ids)
    if (more := books.payments_differing - len(books.differing_payment_ids)) > 0:
        yield f"and {more} more"
