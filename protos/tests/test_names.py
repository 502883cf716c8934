"""The rules of names (one visible line, in any script) and of URLs (http or https with a host)."""

import protovalidate
import pytest
from adplatform.payment.v1.payment_pb2 import BankAccount
from adplatform.pixel.v1.pixel_pb2 import CreatePixelRequest
from adplatform.publisher.v1.publisher_pb2 import CreateSiteRequest

CAMPAIGN = "0190a6a0-0000-7000-8000-000000000001"
ZWJ, ZWNJ = "\N{ZERO WIDTH JOINER}", "\N{ZERO WIDTH NON-JOINER}"


def allowed(name: str) -> set[bool]:
    pixel = CreatePixelRequest(campaign_id=CAMPAIGN, name=name)
    account = BankAccount(account_holder_name=name, iban="DE89370400440532013000")
    return {not protovalidate.collect_violations(message) for message in (pixel, account)}


@pytest.mark.parametrize(
    "name", ["Ada Lovelace", "O'Neil & Söhne: 100 %", "日本", f"نمی{ZWNJ}خواهم", f"👨{ZWJ}👩 shop"]
)
def test_names_of_any_script_are_allowed(name: str) -> None:
    assert allowed(name) == {True}


@pytest.mark.parametrize(
    "name",
    [
        "a\0b", "a\nb", "ab\n", "a\rb", "a\x1b[2Jb", "a\N{NEXT LINE}b", "a\N{LINE SEPARATOR}b",
        "a\N{RIGHT-TO-LEFT OVERRIDE}b", " ab", "ab ", "  ", "\N{NO-BREAK SPACE}" * 2, "\N{ZERO WIDTH SPACE}" * 2,
    ],
)  # fmt: skip
def test_names_with_invisible_or_breaking_characters_are_refused(name: str) -> None:
    assert allowed(name) == {False}


def violations_of(url: str) -> list[str]:
    request = CreateSiteRequest(publisher_id=CAMPAIGN, name="Gazette", url=url)
    return [violation.proto.message for violation in protovalidate.collect_violations(request)]


@pytest.mark.parametrize(
    "url", ["https://example.com", "http://example.com:8080/a?b=c#d", "https://[::1]/", "https://x.example/?to=a@b"]
)
def test_web_addresses_are_allowed(url: str) -> None:
    assert violations_of(url) == []


@pytest.mark.parametrize(
    "url",
    [
        "", "https://", "https:///path", "javascript:alert(1)", "ftp://example.com", "https://user:pw@example.com/",
        "https://a b/",
    ],
)  # fmt: skip
def test_other_urls_are_refused_with_a_message(url: str) -> None:
    assert violations_of(url) == ["must be an http or https URL with a host, and without a user name"]
