"""PaymentService of the contract."""

from uuid import UUID

from adplatform.payment.v1 import payment_pb2 as pb

from adlib.rpc import Call
from payment_service.checkout.messages import created_pb, detailed_pb
from payment_service.checkout.service import CheckoutService, NewPayment, PaymentService
from payment_service.payments.messages import to_pb


class PaymentServicer:
    """Serves PaymentService."""

    contract = pb.DESCRIPTOR.services_by_name["PaymentService"]

    def __init__(self, checkout: CheckoutService, payments: PaymentService) -> None:
        self._checkout = checkout
        self._payments = payments

    def CreatePayment(self, request: pb.CreatePaymentRequest, call: Call) -> pb.CreatePaymentResponse:
        # Only the key and its format rules: a repeat must resume after a crash, not replay a stored response.
        key = call.idempotency(request, created_pb, pb.CreatePaymentResponse).key
        new = NewPayment(
            organization_id=call.caller.organization_id,
            provider=pb.Provider.Name(request.provider),
            amount_micros=request.amount_micros,
            currency_code=request.currency_code,
            choice={field.name: value for field, value in request.crypto.ListFields()},
            key=key,
        )
        return created_pb(self._checkout.create(new))

    def ConfirmPayment(self, request: pb.ConfirmPaymentRequest, call: Call) -> pb.Payment:
        return to_pb(self._payments.confirm(call.caller.organization_id, UUID(request.payment_id)))

    def ListPayments(self, request: pb.ListPaymentsRequest, call: Call) -> pb.ListPaymentsResponse:
        found = self._payments.list_page(call.caller.organization_id, call.page(request))
        return pb.ListPaymentsResponse(
            payments=[to_pb(payment) for payment in found.rows], next_page_token=found.next_page_token
        )

    def GetPayment(self, request: pb.GetPaymentRequest, call: Call) -> pb.Payment:
        return detailed_pb(*self._payments.details(call.caller.organization_id, UUID(request.payment_id)))
