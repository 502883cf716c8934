"""Starting, refreshing, listing and ending sessions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from adplatform.events.v1.events_pb2 import UserNotified

from adlib.access import SessionEnded
from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.identity import NO_SESSION
from adlib.ids import NewId
from adlib.outbox import Outbox
from adlib.rpc import NO_ORGANIZATION
from auth_service.sessions import store
from auth_service.sessions.keys import KeyRing
from auth_service.sessions.model import (
    REFRESH_LIFETIME,
    Client,
    LiveSession,
    RefreshTokenInvalid,
    Session,
    SessionNotFound,
    Tokens,
)
from auth_service.sessions.tokens import ACCESS_TOKEN_S, access_token, hashed, new_refresh_token, new_salt, successor


class CacheInvalidations(Protocol):
    """Tells every process within a second what changed."""

    def session_ended(self, tx: Transaction, session_id: UUID) -> None:
        """The session is over."""
        ...


class SessionService:
    """The use cases of a session's life."""

    def __init__(
        self, db: Database, outbox: Outbox, keys: KeyRing, invalidations: CacheInvalidations, clock: Clock, ids: NewId
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._keys = keys
        self._invalidations = invalidations
        self._clock = clock
        self._ids = ids

    def begin(self, tx: Transaction, user_id: UUID, client: Client) -> Tokens:
        """Begins a session of this person, in the caller's transaction; its first pair of tokens."""
        session = Session(self._ids(), user_id, client)
        now, token = self._clock.now(), new_refresh_token()
        store.add(tx, session, now)
        store.add_token(tx, hashed(token), session.id, now)
        return self._tokens(session, token)

    def refresh(self, token: str) -> Tokens:
        """Trades a refresh token for a new pair.

        Within 30 s of its first use, and until its successor is used, it answers with that successor again: two tabs
        refresh at once, or an answer is lost. Any later use means that somebody has a copy, and ends the session.
        """
        tokens = None
        with self._db.transaction() as tx:
            known = store.lock_token(tx, hashed(token))
            now = self._clock.now()
            if known is None or known.ended:
                pass
            elif salt := known.repeat_salt(now):
                tokens = self._tokens(known.session, successor(token, salt))
            elif known.has_expired(now):
                # No sign of theft, whether it was used or not: it is forgotten sooner or later.
                pass
            elif known.used_at is not None:
                # Committed, unlike what raises in here: whoever holds the newer tokens is put out too.
                self._end_stolen(tx, known.session)
            else:
                tokens = self._rotate(tx, known.session, token, now)
        if tokens is None:
            raise RefreshTokenInvalid
        return tokens

    def of(self, user_id: UUID) -> Sequence[LiveSession]:
        """The person's live sessions, newest first."""
        return store.of_user(self._db, user_id, self._clock.now() - REFRESH_LIFETIME)

    def end(self, session_id: UUID) -> None:
        """Ends the session, here at once and in every service within a second; one that has ended stays as it is."""
        with self._db.transaction() as tx:
            if store.end(tx, session_id, self._clock.now()):
                self._invalidations.session_ended(tx, session_id)

    def revoke(self, user_id: UUID, session_id: UUID) -> None:
        """Ends one of the person's own sessions; SESSION_NOT_FOUND."""
        with self._db.transaction() as tx:
            if not store.end_own(tx, user_id, session_id, self._clock.now()):
                raise SessionNotFound(session_id)
            self._invalidations.session_ended(tx, session_id)

    def end_all(self, tx: Transaction, user_id: UUID, but: UUID = NO_SESSION) -> None:
        """Ends every session of the person but this one, in the caller's transaction."""
        for session_id in store.end_all(tx, user_id, but, self._clock.now()):
            self._invalidations.session_ended(tx, session_id)

    def require_live(self, tx: Transaction, user_id: UUID, session_id: UUID) -> None:
        """TOKEN_INVALID unless the person's session lives, which it does until the caller's transaction ends."""
        if not store.lock_live(tx, user_id, session_id):
            raise SessionEnded

    def jwks(self) -> str:
        """The public keys of access tokens."""
        return self._keys.jwks()

    def _rotate(self, tx: Transaction, session: Session, token: str, now: datetime) -> Tokens:
        salt = new_salt()
        fresh = successor(token, salt)
        store.use_token(tx, hashed(token), now)
        store.rotated(tx, session.id, hashed(token), salt, now)
        store.forget_tokens(tx, session.id, now - REFRESH_LIFETIME)
        store.add_token(tx, hashed(fresh), session.id, now)
        return self._tokens(session, fresh)

    def _tokens(self, session: Session, refresh_token: str) -> Tokens:
        signed = access_token(self._keys, session.user_id, session.id, self._clock.now())
        return Tokens(signed, refresh_token, ACCESS_TOKEN_S, session.user_id)

    def _end_stolen(self, tx: Transaction, session: Session) -> None:
        store.end(tx, session.id, self._clock.now())
        self._invalidations.session_ended(tx, session.id)
        where = f" It was begun from {session.client.address}." if session.client.address else ""
        self._outbox.append(
            tx,
            NO_ORGANIZATION,
            UserNotified(
                user_id=str(session.user_id),
                kind=UserNotified.SESSION_STOLEN,
                title="A session of yours was ended",
                body="A refresh token of it was used again after it had been replaced, so somebody else may have it."
                f"{where} Sign in again; if you do not know why this happened, change your password.",
            ),
        )
