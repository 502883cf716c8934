"""The mails that are sent: their words, and the pages that their links open."""

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
_PATHS: Mapping[MailKind, str] = {
    MailKind.VERIFY_EMAIL: "verify-email",
    MailKind.RESET_PASSWORD: "reset-password",
    MailKind.CONFIRM_EMAIL: "confirm-email",
    MailKind.INVITATION: "accept-invitation",
}


def written(
    id: UUID, kind: MailKind, recipient: str, parameters: Mapping[str, str], *, app_url: str, token: str
) -> Mail:
    """The mail in words; `token` is the link's, empty for mails without one."""
    # A name cannot begin a new line: in the subject that would be a header, in the text words of ours.
    words = {name: " ".join(value.split()) for name, value in parameters.items()}
    if path := _PATHS.get(kind):
        words["link"] = f"{app_url.rstrip('/')}/{path}?token={token}"
    return Mail(id, recipient, _SUBJECTS[kind].format(**words), _TEXTS[kind].format(**words) + "\n")
