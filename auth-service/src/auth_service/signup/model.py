"""Requests to sign up."""

from dataclasses import dataclass

from auth_service.users.model import User


@dataclass(frozen=True, slots=True)
class SignUp:
    """`email` and `password`, or `firebase_id_token`; and `organization_name` with `kind`, or `invitation_token`.

    `kind` is ADVERTISER, PUBLISHER or PLATFORM.
    """

    name: str
    email: str = ""
    password: str = ""
    firebase_id_token: str = ""
    organization_name: str = ""
    kind: str = ""
    invitation_token: str = ""


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to store, with the credential they will sign in with."""

    user: User
    password_hash: str | None = None
    firebase_uid: str | None = None
