"""Firebase ID tokens (firebase-admin), and a fake that knows what it was told."""

from typing import Any, Protocol
from uuid import uuid4

from adlib.errors import Unavailable
from auth_service.accounts.model import CredentialsInvalid, FirebaseUser, SignInNotAvailable, normalized_email

_SKEW_S = 10
_WAIT_S = 5


class FirebaseTokens(Protocol):
    """Verifies Firebase ID tokens."""

    def verify(self, token: str) -> FirebaseUser:
        """Whom the token speaks for; CREDENTIALS_INVALID, or SIGN_IN_NOT_AVAILABLE where Firebase is not configured."""
        ...


class NoFirebase:
    """Firebase where it is not configured."""

    def verify(self, token: str) -> FirebaseUser:
        """SIGN_IN_NOT_AVAILABLE."""
        raise SignInNotAvailable


class FakeFirebase:
    """Knows the tokens it was told."""

    def __init__(self, users: dict[str, FirebaseUser] | None = None) -> None:
        self.users = users or {}

    def verify(self, token: str) -> FirebaseUser:
        """Whom the token was told to speak for; CREDENTIALS_INVALID."""
        if token not in self.users:
            raise _invalid()
        return self.users[token]


class FirebaseAdmin:
    """Tokens of a Firebase project. They are checked against Google's public keys, so no credential is needed."""

    def __init__(self, project_id: str) -> None:
        # Imported only where it is configured: it takes a second and 50 MB.
        import firebase_admin  # type: ignore[import-untyped]  # it ships no types
        from firebase_admin import auth, credentials
        from google.auth.credentials import AnonymousCredentials

        class Nobody(credentials.Base):  # type: ignore[misc]  # firebase-admin ships no types
            def get_credential(self) -> Any:
                return AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth leaves it untyped

        options = {"projectId": project_id, "httpTimeout": _WAIT_S}
        self._auth = auth
        # A name of its own, since a process can have several.
        self._app = firebase_admin.initialize_app(Nobody(), options, name=f"sign-in-{uuid4()}")

    def verify(self, token: str) -> FirebaseUser:
        """Whom the token speaks for; CREDENTIALS_INVALID; UNAVAILABLE where Google's keys cannot be had."""
        try:
            claims = self._auth.verify_id_token(token, self._app, clock_skew_seconds=_SKEW_S)
        except self._auth.CertificateFetchError as error:
            raise Unavailable("Firebase cannot be reached; try again") from error
        except (ValueError, self._auth.InvalidIdTokenError) as error:
            raise _invalid() from error
        email = claims.get("email")
        if not isinstance(email, str) or not email.isascii():
            # Nobody signs up here with others, and one could become somebody else's when it is normalised.
            email = ""
        is_verified = bool(email) and claims.get("email_verified") is True
        return FirebaseUser(str(claims["uid"]), normalized_email(email), is_verified)


def _invalid() -> CredentialsInvalid:
    return CredentialsInvalid("the Firebase token is forged, expired or of another project; sign in to Firebase again")
