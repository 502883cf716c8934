"""Payments with their instructions and deposits, as protobuf messages."""

from collections.abc import Sequence

from adplatform.payment.v1 import payment_pb2 as pb
from google.protobuf.json_format import ParseDict

from payment_service.deposits.messages import to_pb as deposit_pb
from payment_service.deposits.model import Deposit
from payment_service.payments.messages import to_pb
from payment_service.payments.model import Payment


def created_pb(payment: Payment) -> pb.CreatePaymentResponse:
    """The new payment with the instructions to pay it."""
    message = pb.CreatePaymentResponse(payment=to_pb(payment))
    _add_instructions(payment, message)
    return message


def detailed_pb(payment: Payment, deposits: Sequence[Deposit]) -> pb.Payment:
    """The payment with its deposits and, while it is open, the instructions to pay it."""
    message = to_pb(payment)
    message.deposits.extend(deposit_pb(deposit) for deposit in deposits)
    if payment.is_open:
        _add_instructions(payment, message)
    return message


def _add_instructions(payment: Payment, message: pb.Payment | pb.CreatePaymentResponse) -> None:
    """Sets the field of the instructions, which is named after the provider."""
    if payment.instructions:
        ParseDict({payment.provider.lower(): payment.instructions}, message)
