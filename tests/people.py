"""Users of the running platform, signed up through its API."""

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from adctl.client import Client
from adctl.demo.signup import mailed_token, sign_up
from adctl.state import State

PASSWORD = "correct horse battery"
OWNER_OF_KIND = {"ADVERTISER": "owner", "PUBLISHER": "publisher"}


def owner(platform: State, kind: str = "ADVERTISER") -> Client:
    """A new user with an organization and a verified e-mail."""
    client = Client(platform.gateway_url)
    sign_up(
        platform,
        client,
        email=new_email(),
        password=PASSWORD,
        name="Ada",
        organizationName="Acme",
        organizationKind=kind,
    )
    return client


def unverified_owner(platform: State, email: str = "") -> Client:
    """A new user who has not opened the link in the mail."""
    client = Client(platform.gateway_url)
    client.sign_up(email=email or new_email(), password=PASSWORD, name="Ada", organizationName="Acme")
    return client


def staff(platform: State) -> Client:
    """The platform's admin."""
    client = Client(platform.gateway_url)
    client.log_in(platform.admin_email, platform.admin_password)
    return client


def invited(platform: State, by: Client, roles: Sequence[str]) -> list[Client]:
    """A new member of that user's organization for each role, signed up with the mailed link."""
    emails = [new_email() for _ in roles]
    for email, role in zip(emails, roles, strict=True):
        by.post("/users", {"email": email, "role": role})
    return [_joined(platform, email) for email in emails]


def user_id(client: Client) -> str:
    """The user's id."""
    return str(client.get("/auth/profile")["user"]["id"])


def api_key(maker: Client, permissions: Sequence[int | str], **more: Any) -> dict[str, Any]:
    """A new API key of the maker's organization, with its secret."""
    answer = maker.post("/api-keys", {"name": "A program's", "permissions": list(permissions), **more})
    return {**answer["apiKey"], "secret": answer["secret"]}


def digest(secret: str) -> bytes:
    """The stored form of an API key."""
    return hashlib.sha256(secret.encode()).digest()


def new_email() -> str:
    """An address that was not used before."""
    return f"{uuid4().hex}@example.com"


def _joined(platform: State, email: str) -> Client:
    token = mailed_token(platform, email, "accept-invitation")
    client = Client(platform.gateway_url)
    client.sign_up(email=email, password=PASSWORD, name="Grace", invitationToken=token)
    return client
