"""Signing up."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from adplatform.events.v1.events_pb2 import UserSignedUp

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.ids import NewId
from adlib.outbox import Outbox
from auth_service.accounts import store
from auth_service.accounts.attempts import Attempts
from auth_service.accounts.credentials import Credentials
from auth_service.accounts.emails import Emails
from auth_service.accounts.firebase import FirebaseTokens
from auth_service.accounts.model import CredentialsInvalid, Membership, Organization, User, normalized_email
from auth_service.roles.model import OWNER_ROLE
from auth_service.sessions.model import Client, Tokens
from auth_service.sessions.service import SessionService


class Invitations(Protocol):
    """Where invitations are accepted."""

    def check(self, tx: Transaction, token: str, email: str) -> None:
        """LINK_*, INVITATION_FOR_ANOTHER unless somebody with this e-mail can accept."""
        ...

    def accept(self, tx: Transaction, token: str, user_id: UUID, email: str) -> Membership:
        """Makes the person a member of what they were invited to; LINK_*, INVITATION_FOR_ANOTHER."""
        ...


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What signing up takes: `email` and `password`, or `firebase_id_token`; and `organization_name` and its `kind`
    (ADVERTISER, PUBLISHER or PLATFORM), or `invitation_token`.
    """

    name: str
    email: str = ""
    password: str = ""
    firebase_id_token: str = ""
    organization_name: str = ""
    kind: str = ""
    invitation_token: str = ""


@dataclass(frozen=True, slots=True)
class _Person:
    """Somebody who can be signed up."""

    user: User
    password_hash: str | None = None
    firebase_uid: str | None = None


class SignUps:
    """The use cases of becoming known."""

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        sessions: SessionService,
        credentials: Credentials,
        attempts: Attempts,
        firebase: FirebaseTokens,
        emails: Emails,
        invitations: Invitations,
        clock: Clock,
        ids: NewId,
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._sessions = sessions
        self._credentials = credentials
        self._attempts = attempts
        self._firebase = firebase
        self._emails = emails
        self._invitations = invitations
        self._clock = clock
        self._ids = ids

    def sign_up(self, new: NewAccount, client: Client) -> tuple[User, Organization, Tokens]:
        """Makes the person and the organization they own, or join, and signs them in.

        EMAIL_TAKEN, PASSWORD_WEAK, TOO_MANY_ATTEMPTS.
        """
        with self._attempts.at_sign_up(client.address):
            person = self._person(new)
            with self._db.transaction() as tx:
                organization = self._settle(tx, person, new)
                if not person.user.email_verified:
                    self._emails.ask_verification(tx, person.user)
                return person.user, organization, self._sessions.begin(tx, person.user.id, client)

    def ensure_platform(self, admin: NewAccount) -> bool:
        """Makes the platform's own organization and its admin unless they are there; whether it did.

        The admin's e-mail counts as verified: whoever can call this runs the platform.
        """
        if store.platform_exists(self._db):
            return False
        person = self._with_password(admin, email_verified=True)
        with self._db.transaction() as tx:
            self._settle(tx, person, admin)
        return True

    def _person(self, new: NewAccount) -> _Person:
        # An invitation's link was sent to the e-mail, so it proves it, or else is refused.
        invited = bool(new.invitation_token)
        if not new.firebase_id_token:
            return self._with_password(new, email_verified=invited)
        known = self._firebase.verify(new.firebase_id_token)
        if not known.email:
            raise CredentialsInvalid("the Firebase user has no e-mail, and one is needed here")
        user = User(self._ids(), known.email, new.name, known.email_verified or invited)
        return _Person(user, firebase_uid=known.uid)

    def _with_password(self, new: NewAccount, *, email_verified: bool) -> _Person:
        user = User(self._ids(), normalized_email(new.email), new.name, email_verified)
        # Outside the transaction: it takes some 50 ms, and no connection should wait for it.
        hashed = self._credentials.accept(new.password, "password", user.email, new.name, new.organization_name)
        return _Person(user, password_hash=hashed)

    def _settle(self, tx: Transaction, person: _Person, new: NewAccount) -> Organization:
        """Stores the person, with an organization."""
        user, now = person.user, self._clock.now()
        if new.invitation_token:
            # First: EMAIL_TAKEN is only for who reads that e-mail, where nothing is left for its holder to see.
            self._invitations.check(tx, new.invitation_token, user.email)
        store.add_user(tx, user, person.password_hash, now, person.firebase_uid)
        if new.invitation_token:
            organization = self._invitations.accept(tx, new.invitation_token, user.id, user.email).organization
        else:
            organization = Organization(self._ids(), new.organization_name, new.kind)
            store.add_organization(tx, organization, user.id, OWNER_ROLE[new.kind], now)
        self._outbox.append(tx, organization.id, UserSignedUp(user_id=str(user.id), email=user.email))
        return organization
