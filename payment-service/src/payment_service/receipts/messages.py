"""Receipts as HTML and PDF documents."""

from datetime import datetime
from functools import cache
from hashlib import sha256

from adplatform.payment.v1 import receipts_pb2 as pb
from google.api.httpbody_pb2 import HttpBody
from jinja2 import Environment, PackageLoader, StrictUndefined

from payment_service.receipts.model import Receipt, money

Format = pb.GetReceiptRequest.Format


def to_pb(receipt: Receipt, document_format: "Format.ValueType") -> HttpBody:
    """The receipt as a document; HTML unless PDF is requested."""
    if document_format == pb.GetReceiptRequest.PDF:
        return HttpBody(content_type="application/pdf", data=pdf_document(receipt))
    return HttpBody(content_type="text/html; charset=utf-8", data=html_page(receipt).encode())


def headers(receipt: Receipt, document: HttpBody) -> dict[str, str]:
    """The HTTP headers of the document: its file name, and an ETag to revalidate it by."""
    extension = "pdf" if document.content_type == "application/pdf" else "html"
    return {
        "content-disposition": f'inline; filename="{receipt.label}.{extension}"',
        "cache-control": "private, no-cache",
        "etag": f'"{sha256(document.data).hexdigest()}"',
    }


def html_page(receipt: Receipt) -> str:
    """A self-contained HTML page."""
    return _templates().get_template("page.html").render(receipt=receipt)


def pdf_document(receipt: Receipt) -> bytes:
    """A PDF laid out from the HTML; the same receipt always has the same bytes."""
    content = _templates().get_template("receipt.html").render(receipt=receipt)
    # Imported on demand: its libraries take 0.4 s of every start.
    from payment_service import pdf

    return pdf.render(content, title=f"Receipt {receipt.label}", footer=receipt.label, created_at=receipt.issued_at)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("payment_service.receipts"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(money=money, time=_time)
    return environment


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
