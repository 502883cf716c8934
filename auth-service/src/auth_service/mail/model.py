"""Mails: their texts, and the pages that their links open."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol
from uuid import UUID


class MailKind(Enum):
    """The kinds of mail. The comments name the parameters of their texts."""

    VERIFY_EMAIL = "VERIFY_EMAIL"
    RESET_PASSWORD = "RESET_PASSWORD"  # noqa: S105 - the name of a mail
    CONFIRM_EMAIL = "CONFIRM_EMAIL"
    EMAIL_CHANGE_ASKED = "EMAIL_CHANGE_ASKED"  # new_email
    EMAIL_CHANGED = "EMAIL_CHANGED"  # new_email
    PASSWORD_CHANGED = "PASSWORD_CHANGED"  # noqa: S105 - the name of a mail
    INVITATION = "INVITATION"  # organization_name, invited_by, role_name
    NOTIFICATION = "NOTIFICATION"  # title, body


# Sent after all others: one organization can cause many of them, and no recipient is waiting for one.
BULK = frozenset({MailKind.INVITATION, MailKind.NOTIFICATION})


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail for the mail server; `id` is the same in every attempt to send it."""

    id: UUID
    recipient: str
    subject: str
    text: str


# Also in the notifications of the same changes.
IF_NOT_YOU = "If that was not you, reset your password at once, and look at your sessions."
_SUBJECTS: Mapping[MailKind, str] = {
    MailKind.VERIFY_EMAIL: "Verify your e-mail",
    MailKind.RESET_PASSWORD: "Set a new password",
    MailKind.CONFIRM_EMAIL: "Confirm your new e-mail",
    MailKind.EMAIL_CHANGE_ASKED: "Your e-mail is about to be changed",
    MailKind.EMAIL_CHANGED: "Your e-mail was changed",
    MailKind.PASSWORD_CHANGED: "Your password was changed",
    MailKind.INVITATION: "You are invited to {organization_name}",
    MailKind.NOTIFICATION: "{title}",
}
_TEXTS: Mapping[MailKind, str] = {
    MailKind.VERIFY_EMAIL: (
        "Please verify that this e-mail is yours:\n\n{link}\n\nThe link works for three days. "
        "If you have not signed up, ignore this mail."
    ),
    MailKind.RESET_PASSWORD: (
        "Somebody, probably you, asked to set a new password. To do so, open this link:\n\n{link}\n\n"
        "It works once, within an hour. If it was not you, ignore this mail; nothing has changed."
    ),
    MailKind.CONFIRM_EMAIL: (
        "To sign in with this e-mail from now on, open this link:\n\n{link}\n\n"
        "It works once, within an hour. If you did not ask for this, ignore this mail."
    ),
    MailKind.EMAIL_CHANGE_ASKED: (
        "Somebody, probably you, asked to change your e-mail to {new_email}. "
        f"It changes once the link that was sent there is opened.\n\n{IF_NOT_YOU}"
    ),
    MailKind.EMAIL_CHANGED: (
        "From now on you sign in as {new_email} and no longer with this e-mail.\n\n"
        "If that was not you, contact the platform's support at once."
    ),
    MailKind.PASSWORD_CHANGED: f"Your password was changed.\n\n{IF_NOT_YOU}",
    MailKind.INVITATION: (
        "{invited_by} invites you to {organization_name}, as {role_name}. To join, open this link:\n\n{link}\n\n"
        "It works for seven days. If you do not know them, ignore this mail."
    ),
    MailKind.NOTIFICATION: "{body}",
}
# Parameters that the sender of an invitation chooses and a stranger reads, and those validated as e-mail addresses.
_NAMES = frozenset({"organization_name", "invited_by", "role_name"})
_EMAILS = frozenset({"new_email"})
_PATHS: Mapping[MailKind, str] = {
    MailKind.VERIFY_EMAIL: "verify-email",
    MailKind.RESET_PASSWORD: "reset-password",
    MailKind.CONFIRM_EMAIL: "confirm-email",
    MailKind.INVITATION: "accept-invitation",
}


# Zero-width joiners are part of some scripts and of emoji; other invisible characters can hide a link or reverse text.
_JOINERS = "\u200c\u200d"
_DOT = "[.\u3002\uff0e\uff61]"
_SLASHES = re.compile(r"([:\uff1a])[/\uff0f]{2,}")
_SCHEME = re.compile(r"\b((?:https?|ftp|mailto|tel):)(?=\S)", re.IGNORECASE)
_ADDRESS = re.compile(
    rf"\bwww{_DOT}(?=\S)|(?:[\w-]+{_DOT})+[^\W\d_]{{2,}}(?=[/?#]\S|:\d)|\b(?:\d{{1,3}}\.){{3}}\d{{1,3}}(?=[/:])",
    re.IGNORECASE,
)
_INNER_DOT = re.compile(rf"(?<=\w)({_DOT})(?=[^\W\d_])")


def without_links(text: str) -> str:
    """The text on one line, changed so that mail programs detect no link in it except a lone domain.

    The contract refuses names with links; older names in the database may have them.
    """
    visible = (char for char in text if char.isspace() or char in _JOINERS or unicodedata.category(char)[0] != "C")
    line = " ".join("".join(visible).split())
    line = _SCHEME.sub(r"\1 ", _SLASHES.sub(r"\1 ", line))
    return _ADDRESS.sub(lambda found: re.sub(f"({_DOT})", r"\1 ", found[0]), line)


def plain_name(name: str) -> str:
    """A name for a mail to a stranger, in which mail programs do not detect lone domains either: "Booking. com"."""
    return _INNER_DOT.sub(r"\1 ", without_links(name))


def rendered(
    id: UUID, kind: MailKind, recipient: str, parameters: Mapping[str, str], *, app_url: str, token: str
) -> Mail:
    """The mail with its text; `token` is the link's, empty for mails without one."""
    # A line break in a name would add a header after the subject, and a paragraph that seems to be the platform's.
    values = {
        name: plain_name(value) if name in _NAMES else value if name in _EMAILS else without_links(value)
        for name, value in parameters.items()
    }
    if path := _PATHS.get(kind):
        values["link"] = f"{app_url.rstrip('/')}/{path}?token={token}"
    return Mail(id, recipient, _SUBJECTS[kind].format(**values), _TEXTS[kind].format(**values) + "\n")


class MailFailed(Exception):
    """The mail server did not accept the mail; it may accept it later."""


class MailRefused(Exception):
    """The mail server will never accept the mail."""


class Mailer(Protocol):
    """Sends mail."""

    def send(self, mail: Mail) -> None:
        """Sends the mail; MailFailed if a later attempt may succeed, MailRefused if none can."""
        ...
