"""The words of mails."""

from uuid import UUID

import pytest

from auth_service.mail.model import MailKind, written

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
def test_every_mail_has_words_and_its_link(kind: MailKind) -> None:
    mail = written(UUID(int=1), kind, "a@b.c", PARAMETERS, app_url="https://app.test", token="t.o.k")
    assert mail.subject
    assert "{" not in mail.subject + mail.text
    links = [line for line in mail.text.splitlines() if line.startswith("https://")]
    assert links == ([f"https://app.test/{PAGES[kind]}?token=t.o.k"] if kind in PAGES else [])


def test_a_name_adds_no_line_and_no_words_of_its_own_format() -> None:
    parameters = {**PARAMETERS, "organization_name": "Acme\r\nBcc: all@example.com\n\n{link}", "invited_by": "{0}"}
    mail = written(UUID(int=1), MailKind.INVITATION, "a@b.c", parameters, app_url="https://app.test", token="t")
    assert mail.subject == "You are invited to Acme Bcc: all@example.com {link}"
    assert mail.text.startswith("{0} invites you to Acme Bcc: all@example.com {link}, as Manager.")
