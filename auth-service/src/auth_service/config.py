"""Settings of auth-service."""

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from adlib.clock import SystemClock
from adlib.config import ConfigurationError, Environment
from adlib.service import CommonSettings, read_common
from auth_service.credentials.firebase.client import FirebaseAdmin, FirebaseTokens, NoFirebase
from auth_service.mail.model import Mailer
from auth_service.mail.smtp.client import SmtpMailer
from auth_service.signing_keys import KeyRing

# More than the 52 calls that can hash a password or wait for it, so that the other services are still served then.
_THREADS = 64


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of auth-service; `app_url` is the base URL of the pages that links in mails open."""

    common: CommonSettings
    database_url: str
    keys: KeyRing
    mailer: Mailer
    app_url: str
    firebase: FirebaseTokens
    # The Firebase project of the users' documents; empty for PostgreSQL.
    firestore_project_id: str = ""


def read(environment: Environment) -> Config:
    """Reads the environment; ConfigurationError names a missing or wrong variable."""
    _refuse_emulators(environment)
    common = read_common(environment, "auth-service")
    return Config(
        common=replace(common, rpc=replace(common.rpc, threads=_THREADS)),
        database_url=environment.text("DATABASE_URL"),
        keys=KeyRing(Path(environment.text("TOKEN_KEYS_DIR")), SystemClock()),
        mailer=SmtpMailer(environment.text("SMTP_URL"), environment.text("MAIL_FROM")),
        app_url=_app_url(environment),
        firebase=_firebase(environment),
        firestore_project_id=environment.text("FIRESTORE_PROJECT_ID", ""),
    )


def _refuse_emulators(environment: Environment) -> None:
    # Google's libraries read these variables themselves, and then accept unsigned tokens and unauthenticated servers.
    if environment.text("ENVIRONMENT", "") != "production":
        return
    for name in ("FIREBASE_AUTH_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST"):
        if environment.text(name, ""):
            raise ConfigurationError(f"{name} is set, which disables authentication; unset it in production")


def _app_url(environment: Environment) -> str:
    url = environment.text("APP_URL")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(
            f"APP_URL is {url!r}; it must be the http or https URL of the pages that mails link to"
        )
    return url


def _firebase(environment: Environment) -> FirebaseTokens:
    project_id = environment.text("FIREBASE_PROJECT_ID", "")
    return FirebaseAdmin(project_id) if project_id else NoFirebase()
