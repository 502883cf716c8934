"""Starts, refreshes, lists and ends sessions."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from adlib import identity
from adlib.access import SessionEnded
from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.identity import NO_SESSION
from adlib.ids import NewId
from adlib.outbox import Outbox
from adlib.rpc import NO_ORGANIZATION
from auth_service.invalidations.service import CacheInvalidations
from auth_service.sessions import store
from auth_service.sessions.messages import refresh_token_reused
from auth_service.sessions.model import (
    ACCESS_TOKEN_LIFETIME_S,
    REFRESH_TOKEN_LIFETIME,
    Client,
    LiveSession,
    RefreshTokenInvalid,
    Session,
    SessionNotFound,
    Tokens,
    successor,
    token_hash,
)
from auth_service.signing_keys import KeyRing


class SessionService:
    """The use cases of sessions."""

    def __init__(
        self, db: Database, outbox: Outbox, keys: KeyRing, invalidations: CacheInvalidations, clock: Clock, ids: NewId
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._keys = keys
        self._invalidations = invalidations
        self._clock = clock
        self._ids = ids

    def start(self, tx: Transaction, user_id: UUID, client: Client) -> Tokens:
        """Starts a session in the caller's transaction; returns its first token pair."""
        session = Session(self._ids(), user_id, client)
        now, token = self._clock.now(), secrets.token_urlsafe(32)
        store.add(tx, session, now)
        store.add_token(tx, token_hash(token), session.id, now)
        return self._tokens(session, token)

    def refresh(self, token: str) -> Tokens:
        """Exchanges a refresh token for a new token pair; REFRESH_TOKEN_INVALID.

        Within 30 s of its first use, and until its successor is used, it returns the same successor again, because two
        tabs may refresh concurrently, or a response may be lost. Any later use means that the token was copied, and
        ends the session.
        """
        tokens = None
        with self._db.transaction() as tx:
            stored = store.lock_token(tx, token_hash(token))
            now = self._clock.now()
            if stored is None or stored.has_session_ended:
                pass
            elif salt := stored.repeat_salt(now):
                tokens = self._tokens(stored.session, successor(token, salt))
            elif stored.has_expired(now):
                # Used or not, an expired token does not indicate theft.
                pass
            elif stored.used_at is not None:
                # No error here: raising would roll back the end of the session, and the newer tokens would live on.
                self._end_stolen(tx, stored.session)
            else:
                tokens = self._rotate(tx, stored.session, token, now)
        if tokens is None:
            raise RefreshTokenInvalid
        return tokens

    def list_live(self, user_id: UUID) -> Sequence[LiveSession]:
        """The user's live sessions, newest first."""
        return store.list_live(self._db, user_id, self._clock.now() - REFRESH_TOKEN_LIFETIME)

    def end(self, session_id: UUID) -> None:
        """Ends the session: here at once, in every service within a second. Does nothing if it has ended."""
        with self._db.transaction() as tx:
            if store.end(tx, session_id, self._clock.now()):
                self._invalidations.session_ended(tx, session_id)

    def revoke(self, user_id: UUID, session_id: UUID) -> None:
        """Ends one of the user's own sessions; SESSION_NOT_FOUND."""
        with self._db.transaction() as tx:
            if not store.end_own(tx, user_id, session_id, self._clock.now()):
                raise SessionNotFound(session_id)
            self._invalidations.session_ended(tx, session_id)

    def end_all(self, tx: Transaction, user_id: UUID, *, except_id: UUID = NO_SESSION) -> None:
        """Ends every session of the user except this one, in the caller's transaction."""
        for session_id in store.end_all(tx, user_id, except_id, self._clock.now()):
            self._invalidations.session_ended(tx, session_id)

    def require_live(self, tx: Transaction, user_id: UUID, session_id: UUID) -> None:
        """TOKEN_INVALID unless the user's session is live; it stays live until the caller's transaction ends."""
        if not store.lock_live(tx, user_id, session_id):
            raise SessionEnded

    def jwks(self) -> str:
        """The public keys of access tokens."""
        return self._keys.jwks()

    def _rotate(self, tx: Transaction, session: Session, token: str, now: datetime) -> Tokens:
        salt = secrets.token_bytes(32)
        next_token = successor(token, salt)
        store.mark_token_used(tx, token_hash(token), now)
        store.set_rotation(tx, session.id, token_hash(token), salt, now)
        store.delete_tokens(tx, session.id, now - REFRESH_TOKEN_LIFETIME)
        store.add_token(tx, token_hash(next_token), session.id, now)
        return self._tokens(session, next_token)

    def _tokens(self, session: Session, refresh_token: str) -> Tokens:
        issued_at = int(self._clock.now().timestamp())
        claims = {
            "iss": identity.USER_ISSUER,
            "aud": identity.AUDIENCE,
            "sub": str(session.user_id),
            "sid": str(session.id),
            "iat": issued_at,
            "exp": issued_at + ACCESS_TOKEN_LIFETIME_S,
        }
        return Tokens(self._keys.sign(claims), refresh_token, ACCESS_TOKEN_LIFETIME_S, session.user_id)

    def _end_stolen(self, tx: Transaction, session: Session) -> None:
        store.end(tx, session.id, self._clock.now())
        self._invalidations.session_ended(tx, session.id)
        self._outbox.append(tx, NO_ORGANIZATION, refresh_token_reused(session))
