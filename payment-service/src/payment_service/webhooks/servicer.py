"""WebhookService of the contract."""

from adplatform.payment.v1 import payment_pb2 as pb
from google.api.annotations_pb2 import http
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from adlib.rpc import Call
from payment_service.webhooks.service import WebhookService


class WebhookServicer:
    """Has a method for each RPC of the contract's WebhookService.

    An RPC's path names its provider: that of `POST /webhooks/stripe` is STRIPE, so a new webhook needs no code here.
    """

    contract = pb.DESCRIPTOR.services_by_name["WebhookService"]

    def __init__(self, webhooks: WebhookService) -> None:
        self._webhooks = webhooks
        for method in pb.DESCRIPTOR.services_by_name["WebhookService"].methods:
            setattr(self, method.name, self._receiver(method))

    def _receiver(self, method: MethodDescriptor) -> object:
        provider = provider_of(method)
        response_class = GetMessageClass(method.output_type)

        def receive(request: pb.ReceiveStripeEventRequest, call: Call) -> Message:
            self._webhooks.receive(provider, request.body.data, call.header)
            return response_class()

        return receive


def provider_of(method: MethodDescriptor) -> str:
    """The contract's name of the provider that calls the RPC."""
    path: str = method.GetOptions().Extensions[http].post
    return pb.Provider.Name(pb.Provider.Value(path.rpartition("/")[2].upper()))
