"""GetReceipt through the stub, for payments through Stripe."""

import re
from uuid import uuid4

import grpc
import pytest
from adplatform.payment.v1 import payment_pb2, receipts_pb2_grpc
from adplatform.payment.v1 import receipts_pb2 as pb
from google.api.httpbody_pb2 import HttpBody
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adtesting import eventually


@pytest.fixture
def receipts(channel: grpc.Channel):
    stub = receipts_pb2_grpc.ReceiptServiceStub(channel)

    def get(customer, payment_id: str, format: pb.GetReceiptRequest.Format = pb.GetReceiptRequest.HTML) -> HttpBody:
        request = pb.GetReceiptRequest(payment_id=payment_id, format=format)
        return stub.GetReceipt(request, metadata=customer.headers)

    return get


def reason(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    found = ErrorInfo()
    assert any(detail.Unpack(found) for detail in rpc_status.from_call(error.value).details)
    return found.reason


def paid(customer, sandboxes) -> str:
    payment_id = customer.create(1_234_560_000).payment.id
    sandboxes.pay(payment_id)
    eventually(lambda: customer.get(payment_id).state == payment_pb2.Payment.SUCCEEDED)
    return payment_id


def test_paid_payment_has_a_numbered_receipt(customer, sandboxes, gateway, receipts) -> None:
    numbers = []
    for payment_id in (paid(customer, sandboxes), paid(customer, sandboxes)):
        answer = receipts(customer, payment_id)
        assert answer.content_type == "text/html; charset=utf-8"
        html = answer.data.decode()
        numbers += re.findall(r"<h1>Receipt (R-\d+)</h1>", html)
        assert payment_id in html
        assert str(customer.organization_id) in html
        assert "<bdi>The ad platform</bdi>" in html
        assert "<dt>Paid</dt><dd>USD 1,234.56</dd>" in html
    assert numbers == ["R-000001", "R-000002"]


def test_receipt_names_the_payer_and_works_without_the_name(
    customer, new_customer, organizations, sandboxes, gateway, receipts
) -> None:
    other = new_customer()
    organizations.names |= {customer.organization_id: "Acme & Sons", other.organization_id: "Other"}
    assert "<bdi>Acme &amp; Sons</bdi>" in receipts(customer, paid(customer, sandboxes)).data.decode()
    organizations.is_down = True
    try:
        html = receipts(other, paid(other, sandboxes)).data.decode()
    finally:
        organizations.is_down = False
    assert f"<dt>Paid by organization</dt><dd>{other.organization_id}</dd>" in html


def test_receipt_headers_have_file_name_and_revalidation(customer, sandboxes, gateway, channel) -> None:
    payment_id = paid(customer, sandboxes)
    get = receipts_pb2_grpc.ReceiptServiceStub(channel).GetReceipt

    def headers(format: pb.GetReceiptRequest.Format) -> dict[str, str]:
        request = pb.GetReceiptRequest(payment_id=payment_id, format=format)
        _, call = get.with_call(request, metadata=customer.headers)
        return dict(call.initial_metadata())

    as_pdf, as_html = headers(pb.GetReceiptRequest.PDF), headers(pb.GetReceiptRequest.HTML)
    assert as_pdf["content-disposition"] == 'inline; filename="R-000001.pdf"'
    assert as_html["content-disposition"] == 'inline; filename="R-000001.html"'
    assert as_pdf["cache-control"] == as_html["cache-control"] == "private, no-cache"
    assert headers(pb.GetReceiptRequest.PDF)["etag"] == as_pdf["etag"] != as_html["etag"]


def test_receipt_as_pdf_is_deterministic(customer, sandboxes, gateway, receipts) -> None:
    payment_id = paid(customer, sandboxes)
    answer = receipts(customer, payment_id, pb.GetReceiptRequest.PDF)
    assert answer.content_type == "application/pdf"
    assert answer.data.startswith(b"%PDF-1.")
    assert answer.data.rstrip().endswith(b"%%EOF")
    assert receipts(customer, payment_id, pb.GetReceiptRequest.PDF) == answer


def test_receipt_format_defaults_to_html(customer, sandboxes, gateway, receipts) -> None:
    payment_id = paid(customer, sandboxes)
    assert receipts(customer, payment_id, pb.GetReceiptRequest.FORMAT_UNSPECIFIED) == receipts(customer, payment_id)


def test_unpaid_payment_has_no_receipt(customer, gateway, receipts) -> None:
    payment_id = customer.create().payment.id
    with pytest.raises(grpc.RpcError) as refused:
        receipts(customer, payment_id)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason(refused) == "PAYMENT_STATE_INVALID"


def test_receipt_of_another_organization_is_not_found(customer, new_customer, sandboxes, gateway, receipts) -> None:
    for stranger, payment_id in ((new_customer(), paid(customer, sandboxes)), (customer, str(uuid4()))):
        with pytest.raises(grpc.RpcError) as refused:
            receipts(stranger, payment_id)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert reason(refused) == "PAYMENT_NOT_FOUND"
