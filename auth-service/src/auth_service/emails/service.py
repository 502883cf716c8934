"""Sends the links that verify or change an e-mail address."""

from uuid import UUID

from adlib.db import Database, Transaction
from adlib.outbox import Outbox
from adlib.rpc import NO_ORGANIZATION
from auth_service.credentials.service import Credentials
from auth_service.emails.messages import email_change_requested
from auth_service.links.model import Purpose
from auth_service.links.service import Links
from auth_service.mail.model import MailKind
from auth_service.mail.service import OutgoingMail
from auth_service.rate_limits.service import AttemptLimiter
from auth_service.users import store as users
from auth_service.users.model import User, UserNotFound, normalized_email


class EmailService:
    """The use cases of a user's e-mail address; `EmailVerification` redeems the links."""

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        credentials: Credentials,
        limiter: AttemptLimiter,
        links: Links,
        mail: OutgoingMail,
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._credentials = credentials
        self._limiter = limiter
        self._links = links
        self._mail = mail

    def add_verification(self, tx: Transaction, user: User) -> None:
        """Queues the mail with the link that verifies the user's address, in the caller's transaction."""
        link = self._links.create(tx, Purpose.VERIFY_EMAIL, user.id, user.email)
        self._mail.add(tx, MailKind.VERIFY_EMAIL, user.email, link)

    def resend_verification(self, user_id: UUID, address: str) -> None:
        """Sends the link again; does nothing if the address is verified. TOO_MANY_ATTEMPTS."""
        user = self._find(user_id)
        if user.email_verified:
            return
        # The address may be a stranger's, who must not be flooded.
        with self._limiter.count_mail(user.email, address), self._db.transaction() as tx:
            self.add_verification(tx, user)

    def request_change(self, user_id: UUID, new_email: str, password: str, address: str) -> None:
        """Sends a link to the new address and a notice to the old one; CREDENTIALS_INVALID, TOO_MANY_ATTEMPTS.

        Whether the new address is taken is only revealed to the person who opens the link.
        """
        verified = self._credentials.verify(self._find(user_id).email, password, address)
        email = normalized_email(new_email)
        with self._limiter.count_mail(email, address), self._db.transaction() as tx:
            user = self._credentials.lock(tx, verified)
            link = self._links.create(tx, Purpose.CHANGE_EMAIL, user.id, email)
            self._mail.add(tx, MailKind.CONFIRM_EMAIL, email, link)
            self._mail.add(tx, MailKind.EMAIL_CHANGE_ASKED, user.email, new_email=email)
            self._outbox.append(tx, NO_ORGANIZATION, email_change_requested(user.id, email))

    def _find(self, user_id: UUID) -> User:
        user = users.by_id(self._db, user_id)
        if user is None:
            raise UserNotFound(user_id)
        return user
