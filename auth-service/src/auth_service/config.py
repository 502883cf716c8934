"""Settings of auth-service."""

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from adlib.clock import SystemClock
from adlib.config import ConfigurationError, Environment
from adlib.service import CommonSettings, read_common
from auth_service.accounts.firebase import FirebaseAdmin, FirebaseTokens, NoFirebase
from auth_service.mail.mailer import Mailer
from auth_service.mail.smtp import SmtpMailer
from auth_service.sessions.keys import KeyRing

# More than can wait for a password to be checked, so that the other services still get their answers then.
_THREADS = 64


@dataclass(frozen=True, slots=True)
class Config:
    """What auth-service is told from outside; `app_url` is where the pages are that links in mails open."""

    common: CommonSettings
    database_url: str
    keys: KeyRing
    mailer: Mailer
    app_url: str
    firebase: FirebaseTokens
    # Where people's documents are; in PostgreSQL unless given.
    firestore_project_id: str = ""


def read(environment: Environment) -> Config:
    """Reads the environment; ConfigurationError naming what is missing."""
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
    # Google's libraries read these themselves, and then take tokens that nobody signed and servers nobody vouches for.
    if environment.text("ENVIRONMENT", "") != "production":
        return
    for name in ("FIREBASE_AUTH_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST"):
        if environment.text(name, ""):
            raise ConfigurationError(f"{name} is set, which lets anybody in; unset it in production")


def _app_url(environment: Environment) -> str:
    url = environment.text("APP_URL")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(f"APP_URL is {url!r}; the http or https URL of the pages that mails link to is needed")
    return url


def _firebase(environment: Environment) -> FirebaseTokens:
    project_id = environment.text("FIREBASE_PROJECT_ID", "")
    return FirebaseAdmin(project_id) if project_id else NoFirebase()
