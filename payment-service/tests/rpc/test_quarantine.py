"""The operator's RPCs for quarantined items, on the running service."""

from collections.abc import Iterator
from uuid import uuid4

import grpc
import psycopg
import pytest
from adplatform.payment.v1 import quarantine_pb2 as pb
from adplatform.payment.v1.quarantine_pb2_grpc import QuarantineServiceStub
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

Headers = list[tuple[str, str]]


@pytest.fixture
def operator(identities) -> Headers:
    return identities.service_headers("operator")


@pytest.fixture
def quarantine(channel: grpc.Channel) -> QuarantineServiceStub:
    return QuarantineServiceStub(channel)


@pytest.fixture
def broken(gateway, sql: psycopg.Connection) -> Iterator[str]:
    """A Stripe event that no release can parse."""
    event_id = f"evt_{uuid4().hex}"
    sql.execute(
        "INSERT INTO webhook_events (provider, event_id, kind, payload, received_at)"
        " VALUES ('STRIPE', %s, 'x', %s, now())",
        [event_id, b"no event"],
    )
    yield event_id
    sql.execute("DELETE FROM failing_items")
    sql.execute("DELETE FROM webhook_events WHERE event_id = %s", [event_id])


def test_operator_lists_retries_and_discards_quarantined_items(
    broken: str, settle, quarantine: QuarantineServiceStub, operator: Headers
) -> None:
    def waiting() -> list[pb.QuarantinedItem]:
        return list(quarantine.ListQuarantined(pb.ListQuarantinedRequest(), metadata=operator).items)

    result = settle()
    assert [failure.item for failure in result.failures] == [f"book STRIPE {broken}"]
    result = settle()
    assert (result.success, result.stats.quarantined_count) == (True, 1)
    (item,) = waiting()
    assert (item.kind, item.provider, item.subject) == (pb.QuarantinedItem.EVENT, "STRIPE", broken)
    assert item.last_error == "the body is not JSON"
    assert (item.failure_count, item.HasField("quarantine_time"), item.HasField("discard_time")) == (1, True, False)
    assert quarantine.GetQuarantined(pb.GetQuarantinedRequest(id=item.id), metadata=operator) == item

    quarantine.RetryQuarantined(pb.RetryQuarantinedRequest(id=item.id), metadata=operator)
    assert waiting() == []
    assert not settle().success
    (item,) = waiting()
    request = pb.DiscardQuarantinedRequest(id=item.id, reason="sent by hand")
    discarded = quarantine.DiscardQuarantined(request, metadata=operator)
    assert (discarded.discard_reason, discarded.HasField("discard_time")) == ("sent by hand", True)
    assert waiting() == []
    result = settle()
    assert (result.success, result.stats.quarantined_count) == (True, 0)


def test_unknown_quarantined_item_is_not_found(quarantine: QuarantineServiceStub, operator: Headers) -> None:
    for call, request in (
        (quarantine.GetQuarantined, pb.GetQuarantinedRequest(id=str(uuid4()))),
        (quarantine.RetryQuarantined, pb.RetryQuarantinedRequest(id=str(uuid4()))),
        (quarantine.DiscardQuarantined, pb.DiscardQuarantinedRequest(id=str(uuid4()), reason="x")),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call(request, metadata=operator)
        found = ErrorInfo()
        assert rpc_status.from_call(refused.value).details[0].Unpack(found)
        assert found.reason == "QUARANTINED_ITEM_NOT_FOUND"


@pytest.mark.parametrize("caller", ["scheduler", "campaign-service", "person"])
def test_quarantine_is_for_the_operator_only(
    caller: str, quarantine: QuarantineServiceStub, customer, identities
) -> None:
    headers = customer.headers if caller == "person" else identities.service_headers(caller)
    for call, request in (
        (quarantine.ListQuarantined, pb.ListQuarantinedRequest()),
        (quarantine.RetryQuarantined, pb.RetryQuarantinedRequest(id=str(uuid4()))),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call(request, metadata=headers)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
