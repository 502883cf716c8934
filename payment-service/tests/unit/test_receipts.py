"""The content of a receipt, as HTML and as PDF."""

import re
import zlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

import pytest

from payment_service.receipts.messages import html_page, pdf_document
from payment_service.receipts.model import Receipt, ReceiptDeposit, money, plain, units

AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
COIN = {"token": "USDC", "chain_id": 137, "decimals": 6, "address": "0x52908400098527886E0F7030069857D2E4169EE7"}
HASH = f"0x{'ab' * 32}"


def receipt(**changes: Any) -> Receipt:
    made: dict[str, Any] = {
        "organization_id": UUID(int=1), "number": 42, "issued_at": AT, "payment_id": UUID(int=2), "provider": "STRIPE",
        "currency_code": "USD", "paid_micros": 1_234_500_000, "payment_method": "Card",
        "deposits": [ReceiptDeposit(at=AT, amount_micros=1_234_500_000)],
        "deposit_count": 1,
    }  # fmt: skip
    return Receipt(**{**made, **changes})


def by_bank(sender_name: str = "", remittance_text: str = "", count: int = 1) -> Receipt:
    detail = {"sender_name": sender_name, "remittance_text": remittance_text}
    return receipt(
        provider="WISE",
        payment_method="Bank transfer",
        instructions={"reference": "AD-7F3K2M9Q"},
        deposits=[ReceiptDeposit(at=AT, amount_micros=1_000_000, detail=detail)] * count,
        deposit_count=count,
    )


def html_text(document: str) -> str:
    """The text of the body, without tags."""
    words: list[str] = []
    parser = HTMLParser()
    parser.handle_data = words.append  # type: ignore[method-assign]  # shorter than a subclass
    parser.feed(document.partition("<body>")[2])
    return " ".join(" ".join(words).split())


def pdf_text(document: bytes) -> str:
    """The text of a PDF written by fpdf2, one line per text operator."""
    objects = {
        int(number): body for number, body in re.findall(rb"(\d+) 0 obj\n(.*?)\nendobj", document, re.DOTALL)
    }  # fmt: skip
    fonts: dict[bytes, Mapping[str, str]] = {}
    for name, number in set(re.findall(rb"/F(\d) (\d+) 0 R", document)):
        found = re.search(rb"/ToUnicode (\d+) 0 R", objects[int(number)])
        assert found
        pairs = re.findall(rb"<([0-9A-F]{4})> <([0-9A-F]+)>\n", objects[int(found[1])])
        fonts[name] = {
            chr(int(code, 16)): bytes.fromhex(text.decode()).decode("utf-16-be") for code, text in pairs
        }  # fmt: skip
    lines = []
    for body in objects.values():
        stream = re.search(rb"/FlateDecode.*?stream\n(.*)\nendstream", body, re.DOTALL)
        content = zlib.decompress(stream[1]) if stream else b""
        if b" Tf " not in content:
            continue
        font = b""
        for name, text in re.findall(
            rb"/F(\d) [\d.]+ Tf|Td (?:[\d. ]+ r?g )?\(((?:\\.|[^\\)])*)\) Tj", content, re.DOTALL
        ):
            font = name or font
            codes = re.sub(rb"\\(.)", lambda escaped: {b"r": b"\r", b"n": b"\n"}.get(escaped[1], escaped[1]), text)
            lines.append("".join(fonts[font][code] for code in codes.decode("utf-16-be")))
    return "\n".join(line for line in lines if line)


def both(made: Receipt) -> tuple[str, str]:
    return html_text(html_page(made)), " ".join(pdf_text(pdf_document(made)).split())


@pytest.mark.parametrize(
    ("micros", "currency_code", "text"),
    [
        (1_234_567_890_000, "USD", "USD 1,234,567.89"),
        (1_000_000, "EUR", "EUR 1.00"),
        (10_000, "GBP", "GBP 0.01"),
        (5_000_000_000, "JPY", "JPY 5,000"),
        (1_005_001, "USD", "USD 1.005001"),
        (1_500_000, "JPY", "JPY 1.5"),
        (9_223_372_036_854_775_807, "USD", "USD 9,223,372,036,854.775807"),
        (-10_000, "USD", "USD -0.01"),
    ],
)
def test_money_shows_all_minor_digits_without_loss(micros: int, currency_code: str, text: str) -> None:
    assert money(micros, currency_code) == text


@pytest.mark.parametrize(
    ("smallest", "decimals", "text"),
    [
        (1_500_000, 6, "1.5"),
        (1, 18, "0.000000000000000001"),
        (2**256 - 1, 18, "115792089237316195423570985008687907853269984665640564039457.584007913129639935"),
        (1000, 0, "1000"),
    ],
    ids=["trimmed", "smallest", "uint256", "whole"],
)
def test_asset_amount_is_exact_to_its_smallest_unit(smallest: int, decimals: int, text: str) -> None:
    assert units(smallest, decimals) == text


def test_html_and_pdf_have_the_same_content() -> None:
    made = receipt(refunded_micros=100_000_000, disputed_micros=2_500_000)
    for text in both(made):
        assert "Receipt R-000042" in text
        assert "Date of issue 2026-03-01 12:30 UTC" in text
        assert f"Paid by organization {UUID(int=1)} Payment {UUID(int=2)} Means of payment Card" in text
        assert "Paid USD 1,234.50 Refunded since, or being refunded USD 100.00" in text
        assert "In dispute, or lost to one USD 2.50" in text


def test_receipt_names_payer_and_issuer() -> None:
    issuer = ("Example Ads & Co", "1 Long Street", "Tax number 7")
    for text in both(receipt(organization_name="Żółć <Ltd>", issuer=issuer)):
        assert text.startswith("Example Ads & Co 1 Long Street Tax number 7 Receipt R-000042")
        assert f"Paid by Żółć <Ltd> Organization {UUID(int=1)} Payment" in text
    lines = pdf_text(pdf_document(receipt(issuer=issuer))).split("\n")
    assert lines[:3] == list(issuer)


def test_receipt_without_refunds_and_disputes_omits_them() -> None:
    for text in both(receipt()):
        assert "efund" not in text
        assert "dispute" not in text
        assert "more came" not in text


def test_coin_deposit_shows_chain_and_transaction() -> None:
    received = ReceiptDeposit(
        at=AT, amount_micros=1_500_000, asset="USDC", asset_amount=1_500_001, rate=Decimal("0.999900"),
        detail={"chain": {"chain_id": 137, "transaction_hash": HASH}},
    )  # fmt: skip
    reversed_one = ReceiptDeposit(at=AT, amount_micros=2_000_000, is_reversed=True, asset="ETH", asset_amount=7)
    made = receipt(provider="CRYPTO", instructions=COIN, deposits=[received, reversed_one], deposit_count=2)
    for text in both(made):
        assert f"USDC on chain 137 (EIP-155) Paid to address {COIN['address']}" in text
        assert "1.500001 USDC at USD 0.9999 each" in text
        assert HASH in text.replace(" ", "")
        assert "7 of the smallest unit of ETH" in text
        assert "USD 2.00 Reversed, and not counted" in text


def test_bank_deposit_shows_reference_and_sender() -> None:
    for text in both(by_bank("Żółć Ωμέγα Привет", "invoice 7")):
        assert "Bank transfer Reference AD-7F3K2M9Q" in text
        assert "Sent by Żółć Ωμέγα Привет With the text invoice 7" in text


def test_external_text_is_escaped() -> None:
    made = by_bank("<script>alert(1)</script>", "</td></table><h1>Paid USD 1,000,000</h1> {{ 7 * 7 }} {nb} &amp;")
    assert "<script" not in html_page(made)
    assert html_page(made).count("<h1>") == 1
    for text in both(made):
        assert "Sent by <script>alert(1)</script>" in text
        assert "</td></table><h1>Paid USD 1,000,000</h1> {{ 7 * 7 }} {nb} &amp;" in text


def test_bidirectional_control_characters_are_removed() -> None:
    assert plain("a\u202eb\u2066c\u200fd\u200be\x00f\ng\u2028h") == "abcde f g h"
    assert "<bdi>abc</bdi>" in html_page(by_bank("a\u202ebc"))


def test_characters_missing_in_the_font_are_shown_as_code_points() -> None:
    html, text = both(by_bank("株式会社 😀 שלום"))
    assert "株式会社 😀 שלום" in html
    assert "[U+682A][U+5F0F][U+4F1A][U+793E] [U+1F600] [U+05E9][U+05DC][U+05D5][U+05DD]" in text
    assert "font lacks are written as [U+number]" in text
    assert "font lacks" not in " ".join(both(by_bank("Café")))


@pytest.mark.parametrize("letter", ["W", "😀", "<", "—"], ids=["wide", "missing", "escaped", "dash"])
def test_long_words_are_wrapped_and_cut(letter: str) -> None:
    made = by_bank(letter * 100_000, letter * 100_000, count=2)
    html = html_page(made)
    assert "…" in html
    assert len(html) < 10_000
    document = pdf_document(made)
    assert max(len(line) for line in pdf_text(document).split("\n")) < 125
    assert document.count(b"/Type /Page\n") == 1


def test_receipt_lists_only_the_newest_deposits() -> None:
    deposits = [ReceiptDeposit(at=AT, amount_micros=1_000_000)] * 50
    for text in both(receipt(deposits=deposits, deposit_count=1000)):
        assert text.count("USD 1.00") == 50
        assert "These are the newest 50; 950 more came before them." in text


def test_receipt_is_deterministic() -> None:
    made = by_bank("Żółć 株", "text")
    assert pdf_document(made) == pdf_document(made)
    assert html_page(made) == html_page(made)
    assert pdf_document(made) != pdf_document(replace(made, organization_name="Acme"))
    assert b"/CreationDate (D:20260301123000Z)" in pdf_document(made)
    assert pdf_document(made) != pdf_document(by_bank("Żółć 株", "other text"))


def test_html_page_is_self_contained_and_well_formed() -> None:
    document = html_page(receipt(issuer=("One", "Two"), organization_name="Acme"))
    assert not re.findall(r"(?:src|href)=|url\(|@import|<script|https?:", document)
    assert '<html lang="en">' in document
    open_tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _: None if tag in ("meta", "br") else open_tags.append(tag)  # type: ignore[method-assign]  # as above
    parser.handle_endtag = lambda tag: None if open_tags.pop() == tag else pytest.fail(tag)  # type: ignore[method-assign]  # as above
    parser.feed(document)
    assert not open_tags
    assert document.count("<th ") == document.count('<th scope="col"') == 3
