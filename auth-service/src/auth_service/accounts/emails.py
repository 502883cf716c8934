"""Asking for the links that verify or change an e-mail."""

from dataclasses import replace
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.outbox import Outbox
from adlib.rpc import NO_ORGANIZATION
from auth_service.accounts import notices, store
from auth_service.accounts.attempts import Attempts
from auth_service.accounts.credentials import Credentials
from auth_service.accounts.model import User, UserNotFound, normalized_email
from auth_service.links.model import Purpose
from auth_service.links.service import Links
from auth_service.mail.model import MailKind
from auth_service.mail.outgoing import Outgoing


class Emails:
    """The use cases of a person's e-mail."""

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        credentials: Credentials,
        attempts: Attempts,
        links: Links,
        outgoing: Outgoing,
        clock: Clock,
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._credentials = credentials
        self._attempts = attempts
        self._links = links
        self._outgoing = outgoing
        self._clock = clock

    def ask_verification(self, tx: Transaction, user: User) -> None:
        """Sends the link that verifies the person's e-mail, with the caller's transaction."""
        link = self._links.make(tx, Purpose.VERIFY_EMAIL, user.id, user.email)
        self._outgoing.add(tx, MailKind.VERIFY_EMAIL, user.email, link)

    def send_verification(self, user_id: UUID, address: str) -> None:
        """Sends that link again; does nothing where the e-mail is verified; TOO_MANY_ATTEMPTS."""
        user = self._known(user_id)
        if user.email_verified:
            return
        # The e-mail may be somebody else's, who shall not be flooded.
        with self._attempts.at_mail(user.email, address), self._db.transaction() as tx:
            self.ask_verification(tx, user)

    def ask_change(self, user_id: UUID, new_email: str, password: str, address: str) -> None:
        """Sends a link to the new e-mail, and a note to the old one; CREDENTIALS_INVALID, TOO_MANY_ATTEMPTS.

        Whether somebody has the new e-mail already is only said to whoever reads what is sent there.
        """
        proof = self._credentials.check(self._known(user_id).email, password, address)
        email = normalized_email(new_email)
        with self._attempts.at_mail(email, address), self._db.transaction() as tx:
            user = self._credentials.hold(tx, proof)
            link = self._links.make(tx, Purpose.CHANGE_EMAIL, user.id, email)
            self._outgoing.add(tx, MailKind.CONFIRM_EMAIL, email, link)
            self._outgoing.add(tx, MailKind.EMAIL_CHANGE_ASKED, user.email, new_email=email)
            self._outbox.append(tx, NO_ORGANIZATION, notices.email_change_asked(user.id, email))

    def change(self, tx: Transaction, old: User, email: str) -> User:
        """Gives the person, who is locked, an e-mail that somebody has proven; EMAIL_TAKEN."""
        now = self._clock.now()
        store.change_email(tx, old.id, email, now)
        # What was sent to the old e-mail is no longer sent to the person, and who has it with Firebase is not them.
        store.link_firebase(tx, old.id, None, now)
        self._links.void(tx, old.id, Purpose.VERIFY_EMAIL, Purpose.RESET_PASSWORD)
        self._outgoing.add(tx, MailKind.EMAIL_CHANGED, old.email, new_email=email)
        self._outbox.append(tx, NO_ORGANIZATION, notices.email_changed(old.id, email))
        return replace(old, email=email, email_verified=True)

    def _known(self, user_id: UUID) -> User:
        user = store.by_id(self._db, user_id)
        if user is None:
            raise UserNotFound(user_id)
        return user
