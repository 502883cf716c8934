"""ReceiptService of the contract."""

from uuid import UUID

from adplatform.payment.v1 import receipts_pb2 as pb
from google.api.httpbody_pb2 import HttpBody

from adlib.rpc import Call
from payment_service.receipts import page, pdf
from payment_service.receipts.service import ReceiptService


class ReceiptServicer:
    """Parses, calls, renders."""

    def __init__(self, receipts: ReceiptService) -> None:
        self._receipts = receipts

    def GetReceipt(self, request: pb.GetReceiptRequest, call: Call) -> HttpBody:
        receipt = self._receipts.get(call.caller.organization_id, UUID(request.payment_id))
        if request.format == pb.GetReceiptRequest.PDF:
            return HttpBody(content_type="application/pdf", data=pdf.render(receipt))
        return HttpBody(content_type="text/html; charset=utf-8", data=page.render(receipt).encode())
