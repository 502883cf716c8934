"""The items that payment-service's settlement job stopped retrying, as the operator manages them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from adplatform.payment.v1 import quarantine_pb2 as pb
from adplatform.payment.v1.quarantine_pb2_grpc import QuarantineServiceStub
from google.protobuf.timestamp_pb2 import Timestamp

from adctl.errors import UserError
from adctl.operations.operator import connect
from adctl.state import State
from adlib.errors import AppError
from adlib.rpc import Remote

_SERVICE = "payment-service"
_TIMEOUT_S = 10.0
_PAGE_SIZE = 200
# A list shows the start of an error; `show` prints all of it.
_MAX_LISTED_ERROR_LENGTH = 80

Item = pb.QuarantinedItem


class QuarantineError(UserError):
    """The service refused the call or does not answer."""


@contextmanager
def _calls(state: State) -> Iterator[tuple[Remote, QuarantineServiceStub]]:
    with connect(state, _SERVICE, _TIMEOUT_S) as payment:
        try:
            yield payment, QuarantineServiceStub(payment.channel)
        except AppError as error:
            raise QuarantineError(f"{_SERVICE} answered: {error.message}") from None


def list_items(state: State) -> Sequence[Item]:
    """Return all items that wait for an operator, newest first; QuarantineError."""
    items: list[Item] = []
    request = pb.ListQuarantinedRequest(page_size=_PAGE_SIZE)
    with _calls(state) as (payment, stub):
        while True:
            answer = payment.call(stub.ListQuarantined, request)
            items += answer.items
            request.page_token = answer.next_page_token
            if not answer.next_page_token:
                return items


def get(state: State, id: str) -> Item:
    """Return an item, discarded or not; QuarantineError."""
    with _calls(state) as (payment, stub):
        return payment.call(stub.GetQuarantined, pb.GetQuarantinedRequest(id=id))


def retry(state: State, id: str) -> None:
    """Return the item to the job; QuarantineError."""
    with _calls(state) as (payment, stub):
        payment.call(stub.RetryQuarantined, pb.RetryQuarantinedRequest(id=id))


def discard(state: State, id: str, reason: str) -> Item:
    """Exclude the item from settlement for good; QuarantineError."""
    with _calls(state) as (payment, stub):
        return payment.call(stub.DiscardQuarantined, pb.DiscardQuarantinedRequest(id=id, reason=reason))


def summary(item: Item) -> str:
    """Return an item as a line."""
    error = (
        item.last_error
        if len(item.last_error) <= _MAX_LISTED_ERROR_LENGTH
        else f"{item.last_error[: _MAX_LISTED_ERROR_LENGTH - 1]}…"
    )
    return f"{item.id}  {_time(item.quarantine_time)}  {_name(item)}: {error}"


def details(item: Item) -> Iterator[str]:
    """Return all fields of an item, a line each."""
    yield f"item          {_name(item)}"
    yield f"last error    {item.last_error}"
    between = f"{_time(item.first_failure_time)} to {_time(item.last_failure_time)}"
    yield f"failed        {item.failure_count} times, {between}"
    yield f"quarantined   {_time(item.quarantine_time)}"
    if item.HasField("discard_time"):
        yield f"discarded     {_time(item.discard_time)}: {item.discard_reason}"


def _name(item: Item) -> str:
    return " ".join(filter(None, (Item.Kind.Name(item.kind).lower(), item.provider, item.subject)))


def _time(time: Timestamp) -> str:
    return f"{time.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"
