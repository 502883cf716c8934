"""What hands mail to a mail server, and a fake that keeps it."""

from typing import Protocol

from auth_service.mail.model import Mail


class MailFailed(Exception):
    """The mail server did not take the mail; it may later."""


class MailRefused(Exception):
    """The mail server will never take this mail."""


class Mailer(Protocol):
    """Sends mail."""

    def send(self, mail: Mail) -> None:
        """Hands the mail over; MailFailed where it may be tried again, MailRefused where that is of no use."""
        ...


class FakeMailer:
    """Keeps what was sent; fails where it is told to."""

    def __init__(self) -> None:
        self.sent: list[Mail] = []
        self.error: MailFailed | MailRefused | None = None

    def send(self, mail: Mail) -> None:
        """Keeps the mail, or raises `error`."""
        if self.error:
            raise self.error
        self.sent.append(mail)
