"""WebhookService of the contract."""

from adplatform.payment.v1 import payment_pb2 as pb

from adlib.rpc import Call
from payment_service.webhooks.service import WebhookService


class WebhookServicer:
    """Parses, calls, renders."""

    def __init__(self, webhooks: WebhookService) -> None:
        self._webhooks = webhooks

    def ReceiveStripeEvent(self, request: pb.ReceiveStripeEventRequest, call: Call) -> pb.ReceiveStripeEventResponse:
        self._webhooks.receive_stripe(request.body.data, call.header("stripe-signature"))
        return pb.ReceiveStripeEventResponse()

    def ReceiveWiseEvent(self, request: pb.ReceiveWiseEventRequest, call: Call) -> pb.ReceiveWiseEventResponse:
        body, signature = request.body.data, call.header("x-signature-sha256")
        self._webhooks.receive_wise(body, signature, call.header("x-delivery-id"))
        return pb.ReceiveWiseEventResponse()
