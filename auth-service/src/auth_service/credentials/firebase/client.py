"""Verifies Firebase ID tokens with firebase-admin."""

from typing import Any, Protocol
from uuid import uuid4

from adlib.errors import Unavailable
from auth_service.credentials.firebase.model import FirebaseUser, SignInNotAvailable
from auth_service.credentials.model import CredentialsInvalid
from auth_service.users.model import normalized_email

_CLOCK_SKEW_S = 10
_HTTP_TIMEOUT_S = 5


class FirebaseTokens(Protocol):
    """Verifies Firebase ID tokens."""

    def verify(self, token: str) -> FirebaseUser:
        """The token's subject; CREDENTIALS_INVALID, or SIGN_IN_NOT_AVAILABLE if Firebase is not configured."""
        ...


class FirebaseTokenInvalid(CredentialsInvalid):
    """The token is not a valid ID token of the project."""

    def __init__(self) -> None:
        super().__init__("the Firebase token is forged, expired or of another project; sign in to Firebase again")


class NoFirebase:
    """Refuses every token: Firebase is not configured."""

    def verify(self, token: str) -> FirebaseUser:
        """Raises SIGN_IN_NOT_AVAILABLE."""
        raise SignInNotAvailable


class FirebaseAdmin:
    """ID tokens of one Firebase project, verified with Google's public keys; no credential is needed."""

    def __init__(self, project_id: str) -> None:
        # Imported only if configured: it takes a second and 50 MB.
        import firebase_admin  # type: ignore[import-untyped]  # it ships no types
        from firebase_admin import auth, credentials
        from google.auth.credentials import AnonymousCredentials

        class NoCredential(credentials.Base):  # type: ignore[misc]  # firebase-admin ships no types
            def get_credential(self) -> Any:
                return AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth leaves it untyped

        options = {"projectId": project_id, "httpTimeout": _HTTP_TIMEOUT_S}
        self._auth = auth
        # A unique name: a process can have several apps.
        self._app = firebase_admin.initialize_app(NoCredential(), options, name=f"sign-in-{uuid4()}")

    def verify(self, token: str) -> FirebaseUser:
        """The token's subject; CREDENTIALS_INVALID; UNAVAILABLE if Google's keys cannot be fetched."""
        try:
            claims = self._auth.verify_id_token(token, self._app, clock_skew_seconds=_CLOCK_SKEW_S)
        except self._auth.CertificateFetchError as error:
            raise Unavailable("Firebase cannot be reached; try again") from error
        except (ValueError, self._auth.InvalidIdTokenError) as error:
            raise FirebaseTokenInvalid from error
        email = claims.get("email")
        if not isinstance(email, str) or not email.isascii():
            # The contract accepts ASCII addresses only, and normalizing another one could yield another user's.
            email = ""
        is_verified = bool(email) and claims.get("email_verified") is True
        return FirebaseUser(str(claims["uid"]), normalized_email(email), is_verified)
