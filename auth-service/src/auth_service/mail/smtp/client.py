"""Sends mail through an SMTP server (RFC 5321)."""

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from urllib.parse import unquote, urlsplit

from adlib.config import ConfigurationError
from auth_service.mail.model import Mail, MailFailed, MailRefused

_TIMEOUT_S = 10.0
_URL_FORMAT = "smtp://, smtp+starttls:// or smtps://[user:password@]host[:port]"
_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


class SmtpMailer:
    """Opens one connection per mail; with TLS, the server's certificate is verified."""

    def __init__(self, url: str, sender: str) -> None:
        """`url` is smtp://, smtp+starttls:// or smtps://[user:password@]host[:port]; ConfigurationError."""
        parts = urlsplit(url)
        try:
            port = parts.port or _PORTS[parts.scheme]
        except (ValueError, KeyError):
            port = 0
        if not port or not parts.hostname:
            raise ConfigurationError(f"SMTP_URL must be {_URL_FORMAT}")
        if "@" not in parseaddr(sender)[1] or any(ord(character) < ord(" ") for character in sender):
            raise ConfigurationError(f"MAIL_FROM is {sender!r}, which is not an e-mail address")
        self._scheme = parts.scheme
        self._host = parts.hostname
        self._port = port
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self._sender = sender

    def send(self, mail: Mail) -> None:
        """Sends the mail; MailFailed if a later attempt may succeed, MailRefused if none can."""
        try:
            message = self._message(mail)
        except ValueError as error:
            raise MailRefused(f"the message cannot be built: {error}") from error
        try:
            with self._connect() as server:
                server.send_message(message, to_addrs=[mail.recipient])
        except smtplib.SMTPRecipientsRefused as error:
            code, text = error.recipients[mail.recipient]
            refusal = MailRefused if 500 <= code < 600 else MailFailed
            raise refusal(f"{code} {text.decode(errors='replace')}") from error
        except (smtplib.SMTPException, OSError) as error:
            raise MailFailed(str(error)) from error

    def _connect(self) -> smtplib.SMTP:
        tls = ssl.create_default_context()
        if self._scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=_TIMEOUT_S, context=tls)
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            if self._scheme == "smtp+starttls":
                server.starttls(context=tls)
            if self._user:
                server.login(self._user, self._password)
        except BaseException:
            server.close()
            raise
        return server

    def _message(self, mail: Mail) -> EmailMessage:
        # EmailMessage rejects a header with a line break.
        message = EmailMessage()
        message["From"] = self._sender
        message["To"] = mail.recipient
        message["Subject"] = mail.subject
        message["Date"] = formatdate()
        # The same in every attempt, so that a mail server can drop a duplicate.
        message["Message-ID"] = f"<{mail.id}@{parseaddr(self._sender)[1].rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(mail.text)
        return message
