"""Signs users in and manages their profiles."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.outbox import Outbox
from adlib.rpc import NO_ORGANIZATION
from auth_service.accounts import store
from auth_service.accounts.model import NotSignedUp
from auth_service.credentials.firebase.client import FirebaseTokens
from auth_service.credentials.firebase.model import FirebaseUser
from auth_service.credentials.service import Credentials
from auth_service.reclaiming.messages import password_removed
from auth_service.reclaiming.service import AccountReclaimer
from auth_service.sessions.model import Client, Tokens
from auth_service.sessions.service import SessionService
from auth_service.tenancy.model import Membership
from auth_service.users import store as users
from auth_service.users.model import User, UserNotFound, normalized_email


class AccountService:
    """The use cases of users who have signed up."""

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        sessions: SessionService,
        credentials: Credentials,
        firebase: FirebaseTokens,
        reclaimer: AccountReclaimer,
        clock: Clock,
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._sessions = sessions
        self._credentials = credentials
        self._firebase = firebase
        self._reclaimer = reclaimer
        self._clock = clock

    def sign_in(self, email: str, password: str, client: Client) -> tuple[User, Tokens]:
        """Signs in by password.

        CREDENTIALS_INVALID, which takes the same time for an unknown address as for a wrong password;
        TOO_MANY_ATTEMPTS.
        """
        verified = self._credentials.verify(normalized_email(email), password, client.address)
        with self._db.transaction() as tx:
            user = self._credentials.lock(tx, verified)
            return user, self._sessions.start(tx, user.id, client)

    def sign_in_with_firebase(self, token: str, client: Client) -> tuple[User, Tokens]:
        """Signs in as a Firebase user; CREDENTIALS_INVALID, USER_NOT_FOUND, SIGN_IN_NOT_AVAILABLE."""
        subject = self._firebase.verify(token)
        with self._db.transaction() as tx:
            user = users.lock_by_firebase_uid(tx, subject.uid) or self._link(tx, subject)
            return user, self._sessions.start(tx, user.id, client)

    def profile(self, user_id: UUID) -> tuple[User, Sequence[Membership]]:
        """The user and their memberships; USER_NOT_FOUND."""
        user = users.by_id(self._db, user_id)
        if user is None:
            raise UserNotFound(user_id)
        return user, store.memberships(self._db, user_id)

    def rename(self, user_id: UUID, name: str) -> tuple[User, Sequence[Membership]]:
        """Changes the user's name; returns the changed profile."""
        with self._db.transaction() as tx:
            users.rename(tx, user_id, name, self._clock.now())
        return self.profile(user_id)

    def _link(self, tx: Transaction, subject: FirebaseUser) -> User:
        """Links the Firebase user to the user with the same address if Firebase has verified it; USER_NOT_FOUND."""
        user = users.lock_by_email(tx, subject.email) if subject.email_verified else None
        if user is None:
            raise NotSignedUp
        if not user.email_verified:
            self._reclaimer.reclaim(tx, user)
            self._outbox.append(tx, NO_ORGANIZATION, password_removed(user.id))
        users.link_firebase(tx, user.id, subject.uid, self._clock.now())
        return replace(user, email_verified=True)
