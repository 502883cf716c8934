"""Starting, refreshing and ending sessions."""

from uuid import UUID

import redis

from adlib import access
from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import Unavailable
from adlib.ids import NewId
from auth_service.sessions import store
from auth_service.sessions.model import RefreshTokenInvalid, Session, Tokens
from auth_service.sessions.refresh_tokens import RefreshTokens, Use
from auth_service.sessions.tokens import ACCESS_TOKEN_S, TokenSigner


class SessionService:
    """The use cases of a session's life."""

    def __init__(
        self, db: Database, shared: redis.Redis, signer: TokenSigner, refresh: RefreshTokens, clock: Clock, ids: NewId
    ) -> None:
        self._db = db
        self._shared = shared
        self._signer = signer
        self._refresh = refresh
        self._clock = clock
        self._ids = ids

    def begin(self, tx: Transaction, user_id: UUID) -> Session:
        """A new session of this person, in the caller's transaction."""
        session = Session(self._ids(), user_id)
        store.add(tx, session, self._clock.now())
        return session

    def tokens(self, session: Session) -> Tokens:
        """A fresh pair of tokens."""
        access_token = self._signer.access_token(session, self._clock.now())
        return Tokens(access_token, self._refresh.issue(session.id), ACCESS_TOKEN_S)

    def refresh(self, token: str) -> Tokens:
        """Trades a refresh token for a new pair; a second use means that it was stolen, and ends the session."""
        session_id = self._refresh.session_of(token)
        # Looked up before the token is used up: whoever is told to try again must not look like a thief then.
        session = store.live(self._db, session_id) if session_id else None
        if session is None:
            raise RefreshTokenInvalid
        use = self._refresh.redeem(token)
        if use is Use.REPEATED:
            self.end(session.id)
        if use is not Use.FIRST:
            raise RefreshTokenInvalid
        return self.tokens(session)

    def end(self, session_id: UUID) -> None:
        """Ends the session here and in every service; UNAVAILABLE where they cannot be told, and nothing is ended."""
        with self._db.transaction() as tx:
            store.end(tx, session_id, self._clock.now())
            try:
                access.end_session(self._shared, session_id)
            except redis.RedisError as error:
                raise Unavailable("the session could not be ended everywhere; try again") from error

    def jwks(self) -> str:
        """The public keys of access tokens."""
        return self._signer.jwks()
