"""ReceiptService of the contract."""

from uuid import UUID

from adplatform.payment.v1 import receipts_pb2 as pb
from google.api.httpbody_pb2 import HttpBody

from adlib.rpc import Call
from payment_service.receipts.messages import headers, to_pb
from payment_service.receipts.service import ReceiptService


class ReceiptServicer:
    """Serves ReceiptService."""

    contract = pb.DESCRIPTOR.services_by_name["ReceiptService"]

    def __init__(self, receipts: ReceiptService) -> None:
        self._receipts = receipts

    def GetReceipt(self, request: pb.GetReceiptRequest, call: Call) -> HttpBody:
        receipt = self._receipts.get(call.caller.organization_id, UUID(request.payment_id))
        document = to_pb(receipt, request.format)
        call.answer_headers |= headers(receipt, document)
        return document
