"""Settings of auth-service."""

from dataclasses import dataclass

from adlib.config import Environment
from adlib.service import Common, read_common
from auth_service.sessions.tokens import TokenSigner


@dataclass(frozen=True, slots=True)
class Config:
    """What auth-service is told from outside."""

    common: Common
    database_url: str
    signer: TokenSigner


def read(environment: Environment) -> Config:
    """Reads the environment; ConfigurationError naming what is missing."""
    return Config(
        common=read_common(environment, "auth-service"),
        database_url=environment.text("DATABASE_URL"),
        signer=TokenSigner(environment.file("TOKEN_KEY_FILE")),
    )
