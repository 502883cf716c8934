"""The mails that are sent: their words, and the pages that their links open."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from uuid import UUID


class MailKind(Enum):
    """What a mail tells. The comment names the parameters that its words need."""

    VERIFY_EMAIL = "VERIFY_EMAIL"
    RESET_PASSWORD = "RESET_PASSWORD"  # noqa: S105 - the name of a mail
    CONFIRM_EMAIL = "CONFIRM_EMAIL"
    EMAIL_CHANGE_ASKED = "EMAIL_CHANGE_ASKED"  # new_email
    EMAIL_CHANGED = "EMAIL_CHANGED"  # new_email
    PASSWORD_CHANGED = "PASSWORD_CHANGED"  # noqa: S105 - the name of a mail
    INVITATION = "INVITATION"  # organization_name, invited_by, role_name
    NOTIFICATION = "NOTIFICATION"  # title, body


# What one organization can send much of, and nobody is waiting for: it does not hold up the rest.
BULK = frozenset({MailKind.INVITATION, MailKind.NOTIFICATION})


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it is handed to the mail server; `id` stays the same when it is tried again."""

    id: UUID
    recipient: str
    subject: str
    text: str


_NOT_YOU = "If that was not you, set a new password at once by “forgot password”, and look at your sessions."
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
        f"It changes once the link that was sent there is opened.\n\n{_NOT_YOU}"
    ),
    MailKind.EMAIL_CHANGED: (
        "From now on you sign in as {new_email} and no longer with this e-mail.\n\n"
        "If that was not you, tell the platform's support at once."
    ),
    MailKind.PASSWORD_CHANGED: f"Your password was changed.\n\n{_NOT_YOU}",
    MailKind.INVITATION: (
        "{invited_by} invites you to {organization_name}, as {role_name}. To join, open this link:\n\n{link}\n\n"
        "It works for seven days. If you do not know them, ignore this mail."
    ),
    MailKind.NOTIFICATION: "{body}",
}
# What senders of invitations choose and strangers read; and what was validated as an e-mail.
_NAMES = frozenset({"organization_name", "invited_by", "role_name"})
_EMAILS = frozenset({"new_email"})
_PATHS: Mapping[MailKind, str] = {
    MailKind.VERIFY_EMAIL: "verify-email",
    MailKind.RESET_PASSWORD: "reset-password",
    MailKind.CONFIRM_EMAIL: "confirm-email",
    MailKind.INVITATION: "accept-invitation",
}


# The two joiners belong to words of some scripts and to emoji; what else shows nothing can hide a link or turn a text.
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
    """The text on one line, with nothing in it that a mail program would make a link of, but lone domains.

    The contract refuses such names today; those that were given before are still in the database.
    """
    shown = (char for char in text if char.isspace() or char in _JOINERS or unicodedata.category(char)[0] != "C")
    line = " ".join("".join(shown).split())
    line = _SCHEME.sub(r"\1 ", _SLASHES.sub(r"\1 ", line))
    return _ADDRESS.sub(lambda found: re.sub(f"({_DOT})", r"\1 ", found[0]), line)


def plain_name(name: str) -> str:
    """A name for a mail to strangers, in which lone domains are no links, either: "Booking. com"."""
    return _INNER_DOT.sub(r"\1 ", without_links(name))


def written(
    id: UUID, kind: MailKind, recipient: str, parameters: Mapping[str, str], *, app_url: str, token: str
) -> Mail:
    """The mail in words; `token` is the link's, empty for mails without one."""
    # A name cannot begin a new line, which would be a header in the subject and words of ours in the text.
    words = {
        name: plain_name(value) if name in _NAMES else value if name in _EMAILS else without_links(value)
        for name, value in parameters.items()
    }
    if path := _PATHS.get(kind):
        words["link"] = f"{app_url.rstrip('/')}/{path}?token={token}"
    return Mail(id, recipient, _SUBJECTS[kind].format(**words), _TEXTS[kind].format(**words) + "\n")
