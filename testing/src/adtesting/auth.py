"""Fakes of auth-service's protocols."""

from auth_service.credentials.firebase.client import FirebaseTokenInvalid
from auth_service.credentials.firebase.model import FirebaseUser
from auth_service.mail.model import Mail, MailFailed, MailRefused


class FakeMailer:
    """Records the mails that were sent, or raises `error`."""

    def __init__(self) -> None:
        self.sent: list[Mail] = []
        self.error: MailFailed | MailRefused | None = None

    def send(self, mail: Mail) -> None:
        """Records the mail, or raises `error`."""
        if self.error:
            raise self.error
        self.sent.append(mail)


class FakeFirebase:
    """Verifies the tokens in `users` and refuses all others."""

    def __init__(self, users: dict[str, FirebaseUser] | None = None) -> None:
        self.users = users or {}

    def verify(self, token: str) -> FirebaseUser:
        """The token's user; CREDENTIALS_INVALID."""
        if token not in self.users:
            raise FirebaseTokenInvalid
        return self.users[token]
