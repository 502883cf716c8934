"""Signs up users."""

from adplatform.events.v1.events_pb2 import UserSignedUp

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.ids import NewId
from adlib.outbox import Outbox
from auth_service.credentials import store as credential_store
from auth_service.credentials.firebase.client import FirebaseTokens
from auth_service.credentials.model import CredentialsInvalid
from auth_service.credentials.service import Credentials
from auth_service.emails.service import EmailService
from auth_service.invitations.service import InvitationAcceptance
from auth_service.rate_limits.service import AttemptLimiter
from auth_service.sessions.model import Client, Tokens
from auth_service.sessions.service import SessionService
from auth_service.signup.model import NewUser, SignUp
from auth_service.tenancy import store as tenancy
from auth_service.tenancy.model import Organization
from auth_service.users import store as users
from auth_service.users.model import User, normalized_email


class NewUsers:
    """Creates users from a password or a Firebase user, without storing them."""

    def __init__(self, credentials: Credentials, firebase: FirebaseTokens, ids: NewId) -> None:
        self._credentials = credentials
        self._firebase = firebase
        self._ids = ids

    def create(self, request: SignUp) -> NewUser:
        """Creates the user that the request describes; CREDENTIALS_INVALID, PASSWORD_WEAK, SIGN_IN_NOT_AVAILABLE.

        Hashing a password takes some 50 ms.
        """
        # The invitation was mailed to the address, so its token verifies the address; a wrong token is refused later.
        is_invited = bool(request.invitation_token)
        if not request.firebase_id_token:
            return self.with_password(request, email_verified=is_invited)
        found = self._firebase.verify(request.firebase_id_token)
        if not found.email:
            raise CredentialsInvalid("the Firebase user has no e-mail, and one is needed here")
        user = User(self._ids(), found.email, request.name, found.email_verified or is_invited)
        return NewUser(user, firebase_uid=found.uid)

    def with_password(self, request: SignUp, *, email_verified: bool) -> NewUser:
        """Creates a user who signs in with the request's password; PASSWORD_WEAK."""
        user = User(self._ids(), normalized_email(request.email), request.name, email_verified)
        hash = self._credentials.hash_new(
            request.password, "password", user.email, request.name, request.organization_name
        )
        return NewUser(user, password_hash=hash)


class Registration:
    """Stores new users with their organizations."""

    def __init__(self, outbox: Outbox, invitations: InvitationAcceptance, clock: Clock, ids: NewId) -> None:
        self._outbox = outbox
        self._invitations = invitations
        self._clock = clock
        self._ids = ids

    def register(self, tx: Transaction, new: NewUser, request: SignUp) -> Organization:
        """Stores the user and the organization that they own or join; EMAIL_TAKEN, LINK_*, INVITATION_FOR_ANOTHER."""
        user, now = new.user, self._clock.now()
        if request.invitation_token:
            # Checked first: EMAIL_TAKEN is only revealed to a person who reads the mail sent to the address.
            self._invitations.require_acceptable(tx, request.invitation_token, user.email)
        users.add(tx, user, now, new.firebase_uid)
        if new.password_hash:
            credential_store.set_password(tx, user.id, new.password_hash, now)
        if request.invitation_token:
            organization = self._invitations.accept(tx, request.invitation_token, user.id, user.email).organization
        else:
            organization = Organization(self._ids(), request.organization_name, request.kind)
            tenancy.add(tx, organization, user.id, now)
        self._outbox.append(tx, organization.id, UserSignedUp(user_id=str(user.id), email=user.email))
        return organization


class SignUpService:
    """The use case of signing up."""

    def __init__(
        self,
        db: Database,
        limiter: AttemptLimiter,
        new_users: NewUsers,
        registration: Registration,
        emails: EmailService,
        sessions: SessionService,
    ) -> None:
        self._db = db
        self._limiter = limiter
        self._new_users = new_users
        self._registration = registration
        self._emails = emails
        self._sessions = sessions

    def sign_up(self, request: SignUp, client: Client) -> tuple[User, Organization, Tokens]:
        """Stores the user with the organization that they own or join, and signs them in.

        EMAIL_TAKEN, CREDENTIALS_INVALID, PASSWORD_WEAK, TOO_MANY_ATTEMPTS, LINK_*, INVITATION_FOR_ANOTHER.
        """
        with self._limiter.count_sign_up(client.address):
            # Before the transaction: no connection is held while a password is hashed.
            new = self._new_users.create(request)
            with self._db.transaction() as tx:
                organization = self._registration.register(tx, new, request)
                if not new.user.email_verified:
                    self._emails.add_verification(tx, new.user)
                return new.user, organization, self._sessions.start(tx, new.user.id, client)


def create_platform(db: Database, new_users: NewUsers, registration: Registration, admin: SignUp) -> bool:
    """Creates the platform's own organization and its admin; False if it exists.

    The admin's address counts as verified: only an operator of the platform can call this.
    """
    if tenancy.platform_exists(db):
        return False
    new = new_users.with_password(admin, email_verified=True)
    with db.transaction() as tx:
        registration.register(tx, new, admin)
    return True
