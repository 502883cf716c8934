"""The contract's own field rules: the values that they allow, and their messages."""

from datetime import UTC, datetime, timedelta

import protovalidate
import pytest
from adplatform.auth.v1.api_keys_pb2 import CreateApiKeyRequest
from adplatform.auth.v1.auth_pb2 import SignUpRequest, UpdateProfileRequest
from adplatform.auth.v1.organizations_pb2 import CreateOrganizationRequest, UpdateOrganizationRequest
from adplatform.auth.v1.personal_pb2 import DeleteDraftRequest, GetDraftRequest, PutDraftRequest, PutPreferencesRequest
from adplatform.auth.v1.roles_pb2 import CreateRoleRequest, UpdateRoleRequest
from adplatform.options.v1.options_pb2 import Permission
from google.protobuf.message import Message


def violations_of(*requests: Message) -> list[str]:
    """The messages of the violations, which must be the same for all requests."""
    messages = {tuple(one.proto.message for one in protovalidate.collect_violations(request)) for request in requests}
    (found,) = messages
    return list(found)


@pytest.mark.parametrize("language", ["", "en", "pt-BR", "zh-Hant-TW", "sr-Latn", "es-419"])
def test_languages_are_allowed(language: str) -> None:
    assert violations_of(PutPreferencesRequest(language=language)) == []


@pytest.mark.parametrize("language", ["e", "en_US", "en-", "English!", "en\n", "-en"])
def test_invalid_language_tags_are_refused_with_a_message(language: str) -> None:
    assert violations_of(PutPreferencesRequest(language=language)) == ["must be a language tag such as en or pt-BR"]


def drafts(id: str) -> list[Message]:
    put = PutDraftRequest(draft_id=id)
    put.data.SetInParent()
    return [put, GetDraftRequest(draft_id=id), DeleteDraftRequest(draft_id=id)]


def test_client_chosen_id_has_letters_digits_and_three_marks() -> None:
    assert violations_of(*drafts("new-campaign.2_B")) == []
    for id in ("a b", "a/b", "ä", "a\n"):
        assert violations_of(*drafts(id)) == ["may have letters, digits, dots, dashes and underscores"]
    assert violations_of(*drafts("")) == ["must be at least 1 characters"]


@pytest.mark.parametrize(("after", "allowed"), [(-1, False), (1, True), (29, True), (31, False)])
def test_draft_expires_within_30_days(after: int, allowed: bool) -> None:
    put = PutDraftRequest(draft_id="a")
    put.data.SetInParent()
    put.expire_time.FromDatetime(datetime.now(UTC) + timedelta(days=after))
    assert violations_of(put) == ([] if allowed else ["must be within the next 30 days"])


def networks(network: str) -> list[str]:
    return violations_of(
        CreateApiKeyRequest(name="x", permissions=[Permission.CAMPAIGNS_READ], allowed_cidrs=[network])
    )


@pytest.mark.parametrize(
    "network",
    ["192.0.2.0/24", "192.0.2.7/32", "0.0.0.0/0", "2001:db8::/32", "::/0", "::1/128", "::ffff:0:0:0/96", "0:ffff::/32"],
)
def test_networks_are_allowed(network: str) -> None:
    assert networks(network) == []


@pytest.mark.parametrize(
    "network",
    [
        "192.0.2.7", "192.0.2.7/24", "192.0.2.0/33", "everywhere", "", "2001:db8::1/32", "::ffff:0:0/96",
        "::ffff:192.0.2.0/120", "::FFFF:c000:0200/120", "0::ffff:1.2.3.4/128", "0:0:0:0:0:ffff:c000:200/120",
        "0000:0000:0000:0000:0000:ffff:0000:0000/96", "0:0:0:0:0:ffff::/96", "0:0:0:0:0:ffff:0::/112",
    ],
)  # fmt: skip
def test_invalid_networks_are_refused_with_a_message(network: str) -> None:
    assert networks(network) == ["must be a network such as 192.0.2.0/24 or, for one address, 192.0.2.7/32"]


def named(name: str) -> list[str]:
    """The messages about a name, in every request whose name appears in mails."""
    uuid = "00000000-0000-0000-0000-000000000001"
    return violations_of(
        SignUpRequest(email="a@example.com", password="12345678", name=name, organization_name="Acme"),
        SignUpRequest(email="a@example.com", password="12345678", name="Ada", organization_name=name),
        UpdateProfileRequest(name=name),
        CreateOrganizationRequest(name=name),
        UpdateOrganizationRequest(organization_id=uuid, name=name),
        CreateRoleRequest(name=name),
        UpdateRoleRequest(code="x", name=name),
        CreateApiKeyRequest(name=name, permissions=[Permission.CAMPAIGNS_READ]),
    )


@pytest.mark.parametrize(
    "name",
    [
        "Acme", "Booking.com", "J.R.R. Tolkien", "Fa. Müller/Söhne", "A/B Test", "Data: Insights", "ada@example.com",
        "1.2.3", "St.Pauli e.V.", "3.5/5 stars", "Web 2.0/Labs", "Awww. Cute", "Ромашка", "بازار",
    ],
)  # fmt: skip
def test_names_are_allowed(name: str) -> None:
    assert named(name) == []


@pytest.mark.parametrize(
    "name",
    [
        "Your account is locked - https://evil.example/pay", "HTTPS\uff1a\uff0f\uff0fx", "hxxp://x",
        "x www.evil.example",
        "evil.example/pay", "evil.example?a=1", "evil.example#a", "evil.example:8080", "evil\u3002example/x",
        "mailto:eve@evil.example", "192.0.2.7/pay", "пример.рф/вход",
    ],
)  # fmt: skip
def test_name_in_mails_cannot_contain_a_web_address(name: str) -> None:
    assert named(name) == ["must not contain a web address, since mails carry it"]


@pytest.mark.parametrize(
    "name", ["Acme\nBcc: a", "Acme\r", "a\u2028b", "a\tb", "a\0", "a\u202eb", "a\u2066b", " a", "a "]
)
def test_name_in_mails_is_one_line_without_direction_marks(name: str) -> None:
    assert named(name) == ["must be one line of text, without spaces around it"]


def described(text: str) -> list[str]:
    return violations_of(
        CreateRoleRequest(name="x", description=text), UpdateRoleRequest(code="x", name="x", description=text)
    )


@pytest.mark.parametrize("text", ["", " a\n\n- b\r\n\tc ", "Käufer: 日本 👨\N{ZERO WIDTH JOINER}👩"])
def test_multiline_text_is_allowed(text: str) -> None:
    assert described(text) == []


@pytest.mark.parametrize(
    "text", ["a\0", "a\x1b[2J", "a\x7f", "a\N{NEXT LINE}", "a\N{RIGHT-TO-LEFT OVERRIDE}b", "a\u2066b", "a\n\u202d"]
)
def test_text_with_invisible_or_direction_characters_is_refused(text: str) -> None:
    assert described(text) == ["must be plain text"]
