"""Redeems the links that verify or change an e-mail address."""

from dataclasses import replace

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.outbox import Outbox
from adlib.rpc import NO_ORGANIZATION, Caller
from auth_service.links.model import LinkInvalid, Purpose
from auth_service.links.service import Links
from auth_service.mail.model import MailKind
from auth_service.mail.service import OutgoingMail
from auth_service.reclaiming.messages import password_removed
from auth_service.reclaiming.service import AccountReclaimer
from auth_service.users import store as users
from auth_service.users.model import User
from auth_service.verification.messages import email_changed
from auth_service.verification.model import SessionRequired, VerifiedEmail


class EmailVerification:
    """The use cases of links to an e-mail address; `session` is the one that opens the link, if any."""

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        links: Links,
        mail: OutgoingMail,
        reclaimer: AccountReclaimer,
        clock: Clock,
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._links = links
        self._mail = mail
        self._reclaimer = reclaimer
        self._clock = clock

    def verify(self, token: str, session: Caller | None) -> VerifiedEmail:
        """Verifies the address to which the link was sent; LINK_INVALID, LINK_EXPIRED, LINK_USED, TOKEN_INVALID."""
        with self._db.transaction() as tx:
            link = self._links.redeem(tx, token, Purpose.VERIFY_EMAIL)
            user = users.lock(tx, link.subject_id)
            if user is None or user.email != link.email:
                raise LinkInvalid
            verified = replace(user, email_verified=True)
            if user.email_verified or self._reclaimer.verify_email(tx, user, session):
                return VerifiedEmail(verified)
            return self._offer_new_password(tx, verified)

    def confirm_change(self, token: str, session: Caller | None) -> VerifiedEmail:
        """Changes the address to the link's; the errors of `verify`, EMAIL_TAKEN, SESSION_REQUIRED."""
        with self._db.transaction() as tx:
            link = self._links.redeem(tx, token, Purpose.CHANGE_EMAIL)
            old = users.lock(tx, link.subject_id)
            if old is None:
                raise LinkInvalid
            user = self._change(tx, old, link.email)
            if session is not None and session.user_id == old.id:
                if old.email_verified:
                    self._reclaimer.end_other_sessions(tx, old, session)
                else:
                    self._reclaimer.verify_email(tx, user, session)
                return VerifiedEmail(user)
            # The link may have been sent to a stranger, who must not get an account that others depend on.
            if old.email_verified and self._reclaimer.affects_others(tx, old):
                raise SessionRequired
            self._reclaimer.reclaim(tx, old)
            return self._offer_new_password(tx, user)

    def _change(self, tx: Transaction, old: User, email: str) -> User:
        now = self._clock.now()
        users.change_email(tx, old.id, email, now)
        # The old address, and the Firebase user who has it, may belong to somebody else from now on.
        users.unlink_firebase(tx, old.id, now)
        self._links.void(tx, old.id, Purpose.VERIFY_EMAIL, Purpose.RESET_PASSWORD)
        self._mail.add(tx, MailKind.EMAIL_CHANGED, old.email, new_email=email)
        self._outbox.append(tx, NO_ORGANIZATION, email_changed(old.id, email))
        return replace(old, email=email, email_verified=True)

    def _offer_new_password(self, tx: Transaction, user: User) -> VerifiedEmail:
        """Notifies the user of the reclaimed account; returns a token with which a new password can be set."""
        self._outbox.append(tx, NO_ORGANIZATION, password_removed(user.id))
        link = self._links.create(tx, Purpose.RESET_PASSWORD, user.id, user.email)
        return VerifiedEmail(user, self._links.token(link))
