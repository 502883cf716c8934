"""Fakes for payment-service."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

import grpc
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc
from google.api.httpbody_pb2 import HttpBody

from adlib.errors import Unavailable

_SIGNATURE_HEADERS = ("stripe-signature", "x-signature-sha256", "x-delivery-id")


class FakeOrganizations:
    """Organizations' names in memory. `calls` counts requests; while `is_down`, every request fails."""

    def __init__(self, names: Mapping[UUID, str] | None = None) -> None:
        self.names = dict(names or {})
        self.calls = 0
        self.is_down = False

    def name(self, organization_id: UUID) -> str:
        """The organization's name; empty if it does not exist. UNAVAILABLE while `is_down`."""
        self.calls += 1
        if self.is_down:
            raise Unavailable("auth-service does not answer; try again")
        return self.names.get(organization_id, "")


@dataclass
class Gateway:
    """Stores webhooks, and forwards them to the service while `open` is True."""

    url: str = ""
    open: bool = True
    stub: payment_pb2_grpc.WebhookServiceStub | None = None
    received: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)

    def take(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """Stores the webhook, forwards it while `open` is True, and returns the HTTP status."""
        self.received.append((path, body, headers))
        if self.stub is None or not self.open:
            return 200
        try:
            self.deliver(path, body, headers)
        except grpc.RpcError as error:
            return 503 if error.code() is grpc.StatusCode.UNAVAILABLE else 400
        return 200

    def deliver(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        """Forwards the webhook; RpcError."""
        if self.stub is None:
            raise LookupError("the gateway has no service")
        metadata = tuple((name, headers[name]) for name in _SIGNATURE_HEADERS if name in headers)
        raw = HttpBody(content_type="application/json", data=body)
        if path == "/webhooks/stripe":
            self.stub.ReceiveStripeEvent(pb.ReceiveStripeEventRequest(body=raw), metadata=metadata)
        else:
            self.stub.ReceiveWiseEvent(pb.ReceiveWiseEventRequest(body=raw), metadata=metadata)
