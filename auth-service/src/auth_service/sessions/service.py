"""Starting, refreshing, listing and ending sessions."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from adplatform.events.v1.events_pb2 import UserNotified

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
from auth_service.sessions.tokens import ACCESS_TOKEN_S, access_token, hashed, new_refresh_token


class Marks(Protocol):
    """Tells every process within a second what changed."""

    def session_ended(self, tx: Transaction, session_id: UUID) -> None:
        """The session is over."""
        ...


class SessionService:
    """The use cases of a session's life."""

    def __init__(self, db: Database, outbox: Outbox, keys: KeyRing, marks: Marks, clock: Clock, ids: NewId) -> None:
        self._db = db
        self._outbox = outbox
        self._keys = keys
        self._marks = marks
        self._clock = clock
        self._ids = ids

    def begin(self, tx: Transaction, user_id: UUID, client: Client) -> Tokens:
        """Begins a session of this person, in the caller's transaction; its first pair of tokens."""
        session = Session(self._ids(), user_id, client)
        store.add(tx, session, self._clock.now())
        return self._tokens(tx, session)

    def refresh(self, token: str) -> Tokens:
        """Trades a refresh token for a new pair; a second use means that it was stolen, and ends the session."""
        tokens = None
        with self._db.transaction() as tx:
            known = store.lock_token(tx, hashed(token))
            now = self._clock.now()
            # One that is too old tells nothing, whether it was used or not: it is forgotten sooner or later.
            if known is None or known.ended or known.has_expired(now):
                pass
            elif known.used:
                # Committed, unlike what raises in here: whoever holds the newer tokens is put out too.
                self._end_stolen(tx, known.session)
            else:
                store.use_token(tx, hashed(token), now)
                store.refreshed(tx, known.session.id, now)
                store.forget_tokens(tx, known.session.id, now - REFRESH_LIFETIME)
                tokens = self._tokens(tx, known.session)
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
                self._marks.session_ended(tx, session_id)

    def revoke(self, user_id: UUID, session_id: UUID) -> None:
        """Ends one of the person's own sessions; SESSION_NOT_FOUND."""
        with self._db.transaction() as tx:
            if not store.end_own(tx, user_id, session_id, self._clock.now()):
                raise SessionNotFound(session_id)
            self._marks.session_ended(tx, session_id)

    def end_all(self, tx: Transaction, user_id: UUID, but: UUID = NO_SESSION) -> None:
        """Ends every session of the person but this one, in the caller's transaction."""
        for session_id in store.end_all(tx, user_id, but, self._clock.now()):
            self._marks.session_ended(tx, session_id)

    def jwks(self) -> str:
        """The public keys of access tokens."""
        return self._keys.jwks()

    def _tokens(self, tx: Transaction, session: Session) -> Tokens:
        now = self._clock.now()
        refresh_token = new_refresh_token()
        store.add_token(tx, hashed(refresh_token), session.id, now)
        signed = access_token(self._keys, session.user_id, session.id, now)
        return Tokens(signed, refresh_token, ACCESS_TOKEN_S, session.user_id)

    def _end_stolen(self, tx: Transaction, session: Session) -> None:
        store.end(tx, session.id, self._clock.now())
        self._marks.session_ended(tx, session.id)
        where = f" It was begun from {session.client.address}." if session.client.address else ""
        self._outbox.append(
            tx,
            NO_ORGANIZATION,
            UserNotified(
                user_id=str(session.user_id),
                kind=UserNotified.SESSION_STOLEN,
                title="A session of yours was ended",
                body=f"Its refresh token was used twice, so somebody else may have it.{where} "
                "Sign in again; if you do not know why this happened, change your password.",
            ),
        )
