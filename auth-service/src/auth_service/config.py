"""Settings of auth-service."""

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from adlib.clock import SystemClock
from adlib.config import ConfigurationError, Environment
from adlib.service import Common, read_common
from auth_service.accounts.firebase import FirebaseAdmin, FirebaseTokens, NoFirebase
from auth_service.mail.mailer import Mailer
from auth_service.mail.smtp import SmtpMailer
from auth_service.sessions.keys import KeyRing

# More than can wait for a password to be checked, so that the other services still get their answers then.
_THREADS = 64


@dataclass(frozen=True, slots=True)
class Config:
    """What auth-service is told from outside; `app_url` is where the pages are that links in mails open."""

    common: Common
    database_url: str
    keys: KeyRing
    mailer: Mailer
    app_url: str
    firebase: FirebaseTokens
    # Where people's documents are; in PostgreSQL unless given.
    firestore_project_id: str = ""


def read(environment: Environment) -> Config:
    """Reads the environment; ConfigurationError naming what is missing."""
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


def _app_url(environment: Environment) -> str:
    url = environment.text("APP_URL")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(f"APP_URL is {url!r}; the http or https URL of the pages that mails link to is needed")
    return url


def _firebase(environment: Environment) -> FirebaseTokens:
    # firebase-admin reads this itself, and then takes tokens that nobody signed.
    if environment.text("ENVIRONMENT", "") == "production" and environment.text("FIREBASE_AUTH_EMULATOR_HOST", ""):
        raise ConfigurationError("FIREBASE_AUTH_EMULATOR_HOST is set, which lets anybody in; unset it in production")
    project_id = environment.text("FIREBASE_PROJECT_ID", "")
    return FirebaseAdmin(project_id) if project_id else NoFirebase()
