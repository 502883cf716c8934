"""People of the running platform, who came to it as customers do."""

import hashlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from adctl.client import Client
from adctl.sandbox_commands import mails
from adctl.state import State
from adlib.testing import eventually

PASSWORD = "correct horse battery"
OWNER_OF_KIND = {"ADVERTISER": "owner", "PUBLISHER": "publisher"}


def owner(platform: State, kind: str = "ADVERTISER") -> Client:
    """Somebody new with an organization of their own."""
    client = Client(platform.gateway_url)
    client.sign_up(email=_email(), password=PASSWORD, name="Ada", organizationName="Acme", organizationKind=kind)
    return client


def staff(platform: State) -> Client:
    """The platform's admin."""
    client = Client(platform.gateway_url)
    client.log_in(platform.admin_email, platform.admin_password)
    return client


def invited(platform: State, by: Client, roles: Sequence[str]) -> list[Client]:
    """A new member of that person's organization for each role, who signed up with the link that was mailed."""
    emails = [_email() for _ in roles]
    for email, role in zip(emails, roles, strict=True):
        by.post("/users", {"email": email, "role": role})
    return [_joined(platform, email) for email in emails]


def user_id(client: Client) -> str:
    """Who they are."""
    return str(client.get("/auth/profile")["user"]["id"])


def api_key(maker: Client, permissions: Sequence[int | str], **more: Any) -> dict[str, Any]:
    """A new API key of the maker's organization, with its secret."""
    answer = maker.post("/api-keys", {"name": "A program's", "permissions": list(permissions), **more})
    return {**answer["apiKey"], "secret": answer["secret"]}


def digest(secret: str) -> bytes:
    """What the platform keeps of an API key."""
    return hashlib.sha256(secret.encode()).digest()


def _email() -> str:
    return f"{uuid4().hex}@example.com"


def _joined(platform: State, email: str) -> Client:
    (mail,) = eventually(lambda: mails(platform, to=email), within_s=20)
    (token,) = parse_qs(urlsplit(mail["links"][0]).query)["token"]
    client = Client(platform.gateway_url)
    client.sign_up(email=email, password=PASSWORD, name="Grace", invitationToken=token)
    return client
