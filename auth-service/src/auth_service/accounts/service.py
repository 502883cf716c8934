"""Signing up, signing in, and who one is."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from adplatform.events.v1.events_pb2 import UserSignedUp

from adlib.clock import Clock
from adlib.db import Database
from adlib.ids import NewId
from adlib.outbox import Outbox
from auth_service.accounts import store
from auth_service.accounts.model import (
    CredentialsInvalid,
    Membership,
    Organization,
    User,
    UserNotFound,
    normalized_email,
)
from auth_service.accounts.passwords import Passwords
from auth_service.roles.model import OWNER_ROLE
from auth_service.sessions.model import Tokens
from auth_service.sessions.service import SessionService


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What signing up takes; `kind` is ADVERTISER, PUBLISHER or PLATFORM."""

    email: str
    password: str
    name: str
    organization_name: str
    kind: str


class AccountService:
    """The use cases of people and their organizations."""

    def __init__(
        self, db: Database, outbox: Outbox, sessions: SessionService, passwords: Passwords, clock: Clock, ids: NewId
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._sessions = sessions
        self._passwords = passwords
        self._clock = clock
        self._ids = ids

    def sign_up(self, new: NewAccount) -> tuple[User, Organization, Tokens]:
        """Makes the person and the organization they own, and signs them in; EMAIL_TAKEN."""
        user = User(self._ids(), normalized_email(new.email), new.name)
        organization = Organization(self._ids(), new.organization_name, new.kind)
        # Outside the transaction: it takes some 50 ms, and no connection should wait for it.
        password_hash = self._passwords.hash(new.password)
        now = self._clock.now()
        with self._db.transaction() as tx:
            store.add_user(tx, user, password_hash, now)
            store.add_organization(tx, organization, user.id, OWNER_ROLE[new.kind], now)
            session = self._sessions.begin(tx, user.id)
            self._outbox.append(tx, organization.id, UserSignedUp(user_id=str(user.id), email=user.email))
            # Within the transaction: where no tokens can be had nobody has signed up, and can try again.
            tokens = self._sessions.tokens(session)
        return user, organization, tokens

    def log_in(self, email: str, password: str) -> tuple[User, Tokens]:
        """Signs in; CREDENTIALS_INVALID, after the same time for an unknown e-mail as for a wrong password."""
        found = store.by_email(self._db, normalized_email(email))
        user, kept = found or (None, None)
        if not self._passwords.verify(kept, password) or user is None or kept is None:
            raise CredentialsInvalid
        rehashed = self._passwords.hash(password) if self._passwords.is_outdated(kept) else None
        with self._db.transaction() as tx:
            if rehashed:
                store.rehash(tx, user.id, rehashed, self._clock.now())
            tokens = self._sessions.tokens(self._sessions.begin(tx, user.id))
        return user, tokens

    def profile(self, user_id: UUID) -> tuple[User, Sequence[Membership]]:
        """The person and their organizations."""
        user = store.by_id(self._db, user_id)
        if user is None:
            raise UserNotFound(user_id)
        return user, store.memberships(self._db, user_id)

    def ensure_platform(self, admin: NewAccount) -> bool:
        """Makes the platform's own organization and its admin unless they are there; whether it did."""
        if store.platform_exists(self._db):
            return False
        self.sign_up(admin)
        return True
