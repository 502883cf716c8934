"""Publishers and payouts, created over gRPC."""

from collections.abc import Callable

import grpc
import pytest
from adplatform.payment.v1.payment_pb2 import BankAccount
from adplatform.publisher.v1 import publisher_pb2 as pb
from adplatform.publisher.v1 import publisher_pb2_grpc

IBAN = BankAccount(account_holder_name="Ada Lovelace", iban="DE89370400440532013000")


@pytest.fixture
def publishers(channel: grpc.Channel) -> publisher_pb2_grpc.PublisherServiceStub:
    return publisher_pb2_grpc.PublisherServiceStub(channel)


@pytest.fixture
def payouts(channel: grpc.Channel) -> publisher_pb2_grpc.PayoutServiceStub:
    return publisher_pb2_grpc.PayoutServiceStub(channel)


@pytest.fixture
def jobs(channel: grpc.Channel) -> publisher_pb2_grpc.PublisherJobsServiceStub:
    return publisher_pb2_grpc.PublisherJobsServiceStub(channel)


@pytest.fixture
def register(publishers: publisher_pb2_grpc.PublisherServiceStub) -> Callable[..., pb.Publisher]:
    """Registers a member's organization as a publisher, and approves it if `staff` is given."""

    def call(member, staff=None, **headers: str) -> pb.Publisher:
        request = pb.CreatePublisherRequest(name="News", email="ads@example.com")
        made = publishers.CreatePublisher(request, metadata=member.headers(**headers))
        if staff:
            approve = pb.ApprovePublisherRequest(publisher_id=made.id)
            made = publishers.ApprovePublisher(approve, metadata=staff.headers())
        return made

    return call


@pytest.fixture
def asking() -> Callable[..., pb.RequestPayoutRequest]:
    """Requests a payout, of 40.00 USD by default."""

    def make(publisher: pb.Publisher, **changes: object) -> pb.RequestPayoutRequest:
        fields: dict[str, object] = {"amount_micros": 40_000_000, "currency_code": "USD", "destination": IBAN}
        return pb.RequestPayoutRequest(publisher_id=publisher.id, **{**fields, **changes})

    return make
