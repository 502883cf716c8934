"""PaymentService of the contract."""

from uuid import UUID

from adplatform.payment.v1 import payment_pb2 as pb

from adlib.rpc import Call
from payment_service.payments.messages import instruct, to_pb, with_details
from payment_service.payments.model import Payment
from payment_service.payments.service import NewPayment, PaymentService


class PaymentServicer:
    """Parses, calls, renders."""

    def __init__(self, payments: PaymentService) -> None:
        self._payments = payments

    def CreatePayment(self, request: pb.CreatePaymentRequest, call: Call) -> pb.CreatePaymentResponse:
        # Only the key and its rules: a repeat must go on where a crash stopped, not replay an answer.
        key = call.idempotency(request, _created, pb.CreatePaymentResponse).key
        new = NewPayment(
            organization_id=call.caller.organization_id,
            provider=pb.Provider.Name(request.provider),
            amount_micros=request.amount_micros,
            currency_code=request.currency_code,
            choice={field.name: value for field, value in request.crypto.ListFields()},
            key=key,
        )
        return _created(self._payments.create(new))

    def ConfirmPayment(self, request: pb.ConfirmPaymentRequest, call: Call) -> pb.Payment:
        return to_pb(self._payments.confirm(call.caller.organization_id, UUID(request.payment_id)))

    def ListPayments(self, request: pb.ListPaymentsRequest, call: Call) -> pb.ListPaymentsResponse:
        part = call.page(request)
        found = self._payments.list(call.caller.organization_id, part)
        return pb.ListPaymentsResponse(
            payments=[to_pb(payment) for payment in found.rows], next_page_token=found.next_page_token
        )

    def GetPayment(self, request: pb.GetPaymentRequest, call: Call) -> pb.Payment:
        return with_details(*self._payments.details(call.caller.organization_id, UUID(request.payment_id)))


def _created(payment: Payment) -> pb.CreatePaymentResponse:
    answer = pb.CreatePaymentResponse(payment=to_pb(payment))
    instruct(payment, answer)
    return answer
