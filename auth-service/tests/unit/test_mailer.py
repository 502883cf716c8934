"""The contract of Mailer: SMTP to a server in this process, and the fake."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adlib.config import ConfigurationError
from adtesting.auth import FakeMailer
from auth_service.mail.model import Mail, Mailer, MailFailed, MailRefused
from auth_service.mail.smtp.client import SmtpMailer

MAIL = Mail(
    UUID(int=7),
    "ada@example.com",
    "Neues Paßwort 🔑",
    "Open this:\n\nhttps://app.test/x?token=" + "y" * 300 + "\n",
)


class Inbox:
    """A mail server that stores mail, or responds with an error."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answer = ""

    async def handle_RCPT(self, _server: SMTP, _session: Any, envelope: Envelope, address: str, _options: Any) -> str:
        if self.answer:
            return self.answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Envelope) -> str:
        message = message_from_bytes(envelope.content or b"", policy=default)
        assert isinstance(message, EmailMessage)
        assert envelope.rcpt_tos == [message["To"]]
        self.mails.append(message)
        return "250 OK"


@contextmanager
def serving(inbox: Inbox, tls: ssl.SSLContext | None = None, **options: Any) -> Iterator[str]:
    """Serves the inbox on a free port, encrypted from the first byte with `tls`; yields its host and port."""
    loop = asyncio.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0))

    def smtp() -> SMTP:
        return SMTP(inbox, hostname="localhost", loop=loop, **options)

    async def end() -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    server = loop.run_until_complete(loop.create_server(smtp, sock=listener, ssl=tls))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


class Case(Protocol):
    """A mailer, the mails that its server received, and a method to make it fail."""

    mailer: Mailer

    def arrived(self) -> list[tuple[str, str, str]]: ...

    def fail(self, *, for_good: bool) -> None: ...


class FakeCase:
    def __init__(self) -> None:
        self.mailer = FakeMailer()

    def arrived(self) -> list[tuple[str, str, str]]:
        return [(mail.recipient, mail.subject, mail.text) for mail in self.mailer.sent]

    def fail(self, *, for_good: bool) -> None:
        self.mailer.error = MailRefused("550 no") if for_good else MailFailed("451 later")


class SmtpCase:
    def __init__(self, inbox: Inbox, where: str) -> None:
        self.inbox = inbox
        self.mailer = SmtpMailer(f"smtp://{where}", "Platform <noreply@example.com>")

    def arrived(self) -> list[tuple[str, str, str]]:
        return [(mail["To"], mail["Subject"], mail.get_content().replace("\r\n", "\n")) for mail in self.inbox.mails]

    def fail(self, *, for_good: bool) -> None:
        self.inbox.answer = "550 no" if for_good else "451 later"


@pytest.fixture(params=["fake", "smtp"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    if request.param == "fake":
        yield FakeCase()
    else:
        inbox = Inbox()
        with serving(inbox) as where:
            yield SmtpCase(inbox, where)


def test_mail_arrives_unchanged(case: Case) -> None:
    case.mailer.send(MAIL)
    assert case.arrived() == [(MAIL.recipient, MAIL.subject, MAIL.text)]


@pytest.mark.parametrize(("for_good", "error"), [(True, MailRefused), (False, MailFailed)])
def test_failure_is_retryable_or_permanent_by_smtp_code(case: Case, for_good: bool, error: type[Exception]) -> None:
    case.fail(for_good=for_good)
    with pytest.raises(error):
        case.mailer.send(MAIL)
    assert case.arrived() == []


def test_every_attempt_has_the_same_message_id(case: Case) -> None:
    if not isinstance(case, SmtpCase):
        return
    case.mailer.send(MAIL)
    case.mailer.send(MAIL)
    first, second = case.inbox.mails
    assert first["Message-ID"] == second["Message-ID"] == f"<{MAIL.id}@example.com>"
    assert first["From"] == "Platform <noreply@example.com>"


def test_unreachable_server_is_a_retryable_failure() -> None:
    with pytest.raises(MailFailed):
        SmtpMailer("smtp://127.0.0.1:1", "noreply@example.com").send(MAIL)


@pytest.mark.parametrize("subject", ["a\nBcc: all@example.com", "a\r\nBcc: all@example.com"])
def test_line_break_in_header_is_refused(subject: str) -> None:
    inbox = Inbox()
    with serving(inbox) as where, pytest.raises(MailRefused):
        SmtpMailer(f"smtp://{where}", "noreply@example.com").send(Mail(UUID(int=1), "a@b.c", subject, "x"))
    assert inbox.mails == []


@pytest.fixture
def unknown(tmp_path: Path) -> ssl.SSLContext:
    """A self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "server.pem").write_bytes(private + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    return context


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
def test_mail_is_not_sent_to_server_with_untrusted_certificate(scheme: str, unknown: ssl.SSLContext) -> None:
    inbox = Inbox()
    options: dict[str, Any] = {"tls": unknown} if scheme == "smtps" else {"tls_context": unknown}
    with serving(inbox, **options) as where, pytest.raises(MailFailed, match="certificate"):
        SmtpMailer(f"{scheme}://{where}", "noreply@example.com").send(MAIL)
    assert inbox.mails == []


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
def test_mail_is_not_sent_without_requested_encryption(scheme: str) -> None:
    inbox = Inbox()
    with serving(inbox) as where, pytest.raises(MailFailed):
        SmtpMailer(f"{scheme}://{where}", "noreply@example.com").send(MAIL)
    assert inbox.mails == []


def test_credentials_in_smtp_url_are_used() -> None:
    inbox = Inbox()

    given: list[LoginPassword] = []

    def known(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: LoginPassword) -> AuthResult:
        given.append(data)
        return AuthResult(success=True)

    with serving(inbox, authenticator=known, auth_require_tls=False) as where:
        SmtpMailer(f"smtp://ada:p%40ss%3Aword@{where}", "noreply@example.com").send(MAIL)
    assert given == [LoginPassword(b"ada", b"p@ss:word")]
    assert len(inbox.mails) == 1


@pytest.mark.parametrize("url", ["", "localhost:25", "http://localhost", "smtp://", "smtp://host:x"])
def test_malformed_smtp_url_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="SMTP_URL"):
        SmtpMailer(url, "noreply@example.com")


@pytest.mark.parametrize("sender", ["", "nobody", "a@b.c\nBcc: d@e.f"])
def test_malformed_sender_is_a_configuration_error(sender: str) -> None:
    with pytest.raises(ConfigurationError, match="MAIL_FROM"):
        SmtpMailer("smtp://localhost", sender)
