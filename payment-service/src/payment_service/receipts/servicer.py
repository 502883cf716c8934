"""ReceiptService of the contract."""

from hashlib import sha256
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
            return _document(call, f"{receipt.label}.pdf", "application/pdf", pdf.render(receipt))
        return _document(call, f"{receipt.label}.html", "text/html; charset=utf-8", page.render(receipt).encode())


def _document(call: Call, name: str, content_type: str, data: bytes) -> HttpBody:
    call.answer_headers |= {
        "content-disposition": f'inline; filename="{name}"',
        "cache-control": "private, no-cache",
        "etag": f'"{sha256(data).hexdigest()}"',
    }
    return HttpBody(content_type=content_type, data=data)
