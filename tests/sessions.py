"""Sessions on a real auth-service without signing in, which would take 50 ms of argon2 each."""

import time
from uuid import UUID, uuid4

import psycopg

from adctl.keys import Keys
from adlib import identity
from adlib.clock import SystemClock
from auth_service.signing_keys import KeyRing


class Sessions:
    """Inserts sessions into auth-service's table, and signs tokens with the platform's key."""

    def __init__(self, database_url: str, keys: Keys) -> None:
        self._db = psycopg.connect(database_url, autocommit=True)
        self._ring = KeyRing(keys.tokens.folder, SystemClock())

    def close(self) -> None:
        self._db.close()

    def token(self, user_id: str | UUID, *, ended: bool = False, exp: int = 600) -> str:
        """The access token of a new session; it expires in `exp` seconds."""
        session_id = uuid4()
        self._db.execute(
            "INSERT INTO sessions (id, user_id, created_at, ended_at) "
            "VALUES (%s, %s, now(), CASE WHEN %s THEN now() END)",
            [session_id, user_id, ended],
        )
        return self._ring.sign(claims(user_id, session_id, exp))


def claims(user_id: str | UUID, session_id: UUID, exp: int) -> dict[str, object]:
    """The claims of an access token of this session."""
    now = int(time.time())
    about = {"sub": str(user_id), "sid": str(session_id), "iat": now - 900, "exp": now + exp}
    return {"iss": identity.USER_ISSUER, "aud": identity.AUDIENCE, **about}
