"""Signing in, and who one is."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.outbox import Outbox
from adlib.rpc import NO_ORGANIZATION
from auth_service.accounts import notices, store
from auth_service.accounts.credentials import Credentials
from auth_service.accounts.firebase import FirebaseTokens
from auth_service.accounts.model import (
    FirebaseUser,
    Membership,
    NotSignedUp,
    User,
    UserNotFound,
    normalized_email,
)
from auth_service.accounts.reclaiming import Reclaiming
from auth_service.sessions.model import Client, Tokens
from auth_service.sessions.service import SessionService


class AccountService:
    """The use cases of people who have signed up."""

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        sessions: SessionService,
        credentials: Credentials,
        firebase: FirebaseTokens,
        reclaiming: Reclaiming,
        clock: Clock,
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._sessions = sessions
        self._credentials = credentials
        self._firebase = firebase
        self._reclaiming = reclaiming
        self._clock = clock

    def log_in(self, email: str, password: str, client: Client) -> tuple[User, Tokens]:
        """Signs in; CREDENTIALS_INVALID, after the same time for an unknown e-mail as for a wrong password."""
        proof = self._credentials.check(normalized_email(email), password, client.address)
        with self._db.transaction() as tx:
            user = self._credentials.hold(tx, proof)
            return user, self._sessions.begin(tx, user.id, client)

    def log_in_with_firebase(self, token: str, client: Client) -> tuple[User, Tokens]:
        """Signs in as a Firebase user; USER_NOT_FOUND where they have not signed up here."""
        known = self._firebase.verify(token)
        with self._db.transaction() as tx:
            user = store.lock_by_firebase_uid(tx, known.uid) or self._linked(tx, known)
            return user, self._sessions.begin(tx, user.id, client)

    def profile(self, user_id: UUID) -> tuple[User, Sequence[Membership]]:
        """The person and their organizations."""
        user = store.by_id(self._db, user_id)
        if user is None:
            raise UserNotFound(user_id)
        return user, store.memberships(self._db, user_id)

    def rename(self, user_id: UUID, name: str) -> tuple[User, Sequence[Membership]]:
        """Changes the person's name; their profile."""
        with self._db.transaction() as tx:
            store.rename(tx, user_id, name, self._clock.now())
        return self.profile(user_id)

    def _linked(self, tx: Transaction, known: FirebaseUser) -> User:
        """The person with the Firebase user's e-mail, where Firebase is sure of it; USER_NOT_FOUND."""
        user = store.lock_by_email(tx, known.email) if known.email_verified else None
        if user is None:
            raise NotSignedUp
        if not user.email_verified:
            for organization_id, notice in self._reclaiming.reclaim(tx, user):
                self._outbox.append(tx, organization_id, notice)
            self._outbox.append(tx, NO_ORGANIZATION, notices.password_removed(user.id))
        store.link_firebase(tx, user.id, known.uid, self._clock.now())
        return replace(user, email_verified=True)
