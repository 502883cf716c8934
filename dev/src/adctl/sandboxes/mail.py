"""The inbox of the mail sandbox."""

from typing import Any
from urllib.parse import urlencode

from adctl.sandboxes.client import call
from adctl.state import State


def list_mails(state: State, *, to: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
    """Return the newest mails, newest first; `links` holds the URLs in the text. SandboxError."""
    query = urlencode({"limit": limit} | ({"to": to} if to else {}))
    found: list[dict[str, Any]] = call(state, "mail", "GET", f"/sandbox/mails?{query}")["mails"]
    return found


def get_mail(state: State, mail_id: int) -> dict[str, Any]:
    """Return one mail; SandboxError if there is none with that id."""
    return call(state, "mail", "GET", f"/sandbox/mails/{mail_id}")
