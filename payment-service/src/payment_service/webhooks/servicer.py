"""WebhookService of the contract."""

from adplatform.payment.v1 import payment_pb2 as pb

from adlib.rpc import Call
from payment_service.webhooks.service import WebhookService


class WebhookServicer:
    """Parses, calls, renders."""

    def __init__(self, webhooks: WebhookService) -> None:
        self._webhooks = webhooks

    def ReceiveStripeEvent(self, request: pb.ReceiveStripeEventRequest, call: Call) -> pb.ReceiveStripeEventResponse:
        self._webhooks.receive("STRIPE", request.body.data, call.header)
        return pb.ReceiveStripeEventResponse()

    def ReceiveWiseEvent(self, request: pb.ReceiveWiseEventRequest, call: Call) -> pb.ReceiveWiseEventResponse:
        self._webhooks.receive("WISE", request.body.data, call.header)
        return pb.ReceiveWiseEventResponse()
