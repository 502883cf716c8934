"""QuarantineService of the contract."""

from uuid import UUID

from adplatform.payment.v1 import quarantine_pb2 as pb

from adlib.clock import timestamp
from adlib.paging import page
from adlib.rpc import NO_ORGANIZATION, Call
from payment_service.quarantine.model import FailingItem
from payment_service.quarantine.service import QuarantineService


class QuarantineServicer:
    """Serves QuarantineService, for operators."""

    contract = pb.DESCRIPTOR.services_by_name["QuarantineService"]

    def __init__(self, quarantine: QuarantineService) -> None:
        self._quarantine = quarantine

    def ListQuarantined(self, request: pb.ListQuarantinedRequest, call: Call) -> pb.ListQuarantinedResponse:
        found = self._quarantine.list_page(page(request, call.method, NO_ORGANIZATION))
        return pb.ListQuarantinedResponse(
            items=[_item_pb(item) for item in found.rows], next_page_token=found.next_page_token
        )

    def GetQuarantined(self, request: pb.GetQuarantinedRequest, _call: Call) -> pb.QuarantinedItem:
        return _item_pb(self._quarantine.get(UUID(request.id)))

    def RetryQuarantined(self, request: pb.RetryQuarantinedRequest, _call: Call) -> pb.RetryQuarantinedResponse:
        self._quarantine.retry(UUID(request.id))
        return pb.RetryQuarantinedResponse()

    def DiscardQuarantined(self, request: pb.DiscardQuarantinedRequest, _call: Call) -> pb.QuarantinedItem:
        return _item_pb(self._quarantine.discard(UUID(request.id), request.reason))


def _item_pb(item: FailingItem) -> pb.QuarantinedItem:
    return pb.QuarantinedItem(
        id=str(item.id),
        kind=pb.QuarantinedItem.Kind.Value(item.key.kind),
        provider=item.key.provider,
        subject=item.key.subject,
        last_error=item.last_error,
        failure_count=item.failure_count,
        first_failure_time=timestamp(item.first_failed_at),
        last_failure_time=timestamp(item.last_failed_at),
        quarantine_time=timestamp(item.quarantined_at) if item.quarantined_at else None,
        discard_time=timestamp(item.discarded_at) if item.discarded_at else None,
        discard_reason=item.discard_reason,
    )
