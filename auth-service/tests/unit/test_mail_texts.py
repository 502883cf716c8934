"""The texts of mails."""

import re
from uuid import UUID

import pytest

from auth_service.mail.model import MailKind, rendered

PARAMETERS = {
    "new_email": "new@example.com",
    "organization_name": "Acme",
    "invited_by": "Ada",
    "role_name": "Manager",
    "title": "News",
    "body": "Something happened.",
}
PAGES = {
    MailKind.VERIFY_EMAIL: "verify-email",
    MailKind.RESET_PASSWORD: "reset-password",
    MailKind.CONFIRM_EMAIL: "confirm-email",
    MailKind.INVITATION: "accept-invitation",
}


@pytest.mark.parametrize("kind", MailKind)
def test_every_mail_kind_has_text_and_its_link(kind: MailKind) -> None:
    mail = rendered(UUID(int=1), kind, "a@b.c", PARAMETERS, app_url="https://app.test", token="t.o.k")
    assert mail.subject
    assert "{" not in mail.subject + mail.text
    links = [line for line in mail.text.splitlines() if line.startswith("https://")]
    assert links == ([f"https://app.test/{PAGES[kind]}?token=t.o.k"] if kind in PAGES else [])


def test_name_in_mail_cannot_add_lines_or_format_fields() -> None:
    parameters = {**PARAMETERS, "organization_name": "Acme\r\nBcc: all@example.com\n\n{link}", "invited_by": "{0}"}
    mail = rendered(UUID(int=1), MailKind.INVITATION, "a@b.c", parameters, app_url="https://app.test", token="t")
    assert mail.subject == "You are invited to Acme Bcc: all@example. com {link}"
    assert mail.text.startswith("{0} invites you to Acme Bcc: all@example. com {link}, as Manager.")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Your account is locked - https://evil.example/pay", "Your account is locked - https: evil. example/pay"),
        ("HTTPS\uff1a\uff0f\uff0fevil.example", "HTTPS\uff1a evil. example"),
        ("go to www.evil.example now", "go to www. evil. example now"),
        ("evil.example?a=1", "evil. example?a=1"),
        ("192.0.2.7/pay", "192. 0. 2. 7/pay"),
        ("mailto:eve@evil.example", "mailto: eve@evil. example"),
        ("ht\u200btps:/\u2060/evil\u00ad.example", "https: evil. example"),
        ("Acme\u202egnp.exe\r\n\tBcc", "Acmegnp. exe Bcc"),
        ("Booking.com", "Booking. com"),
        ("J.R.R. Tolkien", "J. R. R. Tolkien"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("Nr. 1/2 v2.0: AT&T", "Nr. 1/2 v2.0: AT&T"),
    ],
)
def test_link_in_legacy_name_is_defused_in_mail(name: str, shown: str) -> None:
    parameters = {"organization_name": name, "invited_by": name, "role_name": name}
    mail = rendered(UUID(int=1), MailKind.INVITATION, "a@b.c", parameters, app_url="https://app.test", token="t")
    assert mail.subject == f"You are invited to {shown}"
    assert mail.text.startswith(f"{shown} invites you to {shown}, as {shown}.")
    assert re.findall(r"\S*(?://|www\.\S)\S*", mail.text) == ["https://app.test/accept-invitation?token=t"]


def test_links_in_notification_text_are_defused_in_mail() -> None:
    parameters = {
        "title": "ada@example.com has joined https://evil.example/x\nof www.evil.example",
        "body": "An API key evil.example/pay\u202e was made.",
    }
    mail = rendered(UUID(int=1), MailKind.NOTIFICATION, "a@b.c", parameters, app_url="https://app.test", token="")
    assert mail.subject == "ada@example.com has joined https: evil. example/x of www. evil.example"
    assert mail.text == "An API key evil. example/pay was made.\n"
