"""Resets and changes passwords."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import AppError
from adlib.ids import NewId
from adlib.outbox import Outbox
from adlib.rpc import NO_ORGANIZATION
from auth_service.credentials import store as credentials
from auth_service.credentials.model import PasswordWeak
from auth_service.credentials.service import Credentials
from auth_service.links.model import Link, LinkInvalid, Purpose
from auth_service.links.service import Links
from auth_service.mail.model import MailKind
from auth_service.mail.service import OutgoingMail
from auth_service.passwords.messages import api_keys_revoked, password_changed
from auth_service.rate_limits.service import AttemptLimiter
from auth_service.reclaiming.service import AccountReclaimer
from auth_service.sessions.service import SessionService
from auth_service.users import store as users
from auth_service.users.model import User, UserNotFound, normalized_email


class PasswordResetRequests:
    """Sends the links that reset a password."""

    def __init__(self, db: Database, limiter: AttemptLimiter, links: Links, mail: OutgoingMail, ids: NewId) -> None:
        self._db = db
        self._limiter = limiter
        self._links = links
        self._mail = mail
        self._ids = ids

    def request(self, email: str, address: str) -> None:
        """Sends a link if the e-mail address is registered; TOO_MANY_ATTEMPTS.

        Neither the answer nor its timing reveals whether it is: for an unknown address the same rows are written, and
        the link is voided, which keeps its mail from being sent.
        """
        email = normalized_email(email)
        unused_id = self._ids()
        with self._limiter.count_mail(email, address):
            user = users.by_email(self._db, email)
            with self._db.transaction() as tx:
                link = self._links.create(tx, Purpose.RESET_PASSWORD, user.id if user else unused_id, email)
                self._mail.add(tx, MailKind.RESET_PASSWORD, email, link)
                self._links.void(tx, unused_id, Purpose.RESET_PASSWORD)


class PasswordWriter:
    """Stores new passwords and announces them."""

    def __init__(self, outbox: Outbox, links: Links, mail: OutgoingMail, clock: Clock) -> None:
        self._outbox = outbox
        self._links = links
        self._mail = mail
        self._clock = clock

    def set_password(self, tx: Transaction, user: User, hash: str, revoked_keys: Sequence[str] = ()) -> None:
        """Stores the hash, voids the links that the old password could have requested, and notifies the user."""
        credentials.set_password(tx, user.id, hash, self._clock.now())
        self._links.void(tx, user.id, Purpose.RESET_PASSWORD, Purpose.CHANGE_EMAIL)
        # An unverified address may be a stranger's, who would get a mail for every change.
        if user.email_verified:
            self._mail.add(tx, MailKind.PASSWORD_CHANGED, user.email)
            if revoked_keys:
                title, body = "Your API keys were revoked", api_keys_revoked(revoked_keys)
                self._mail.add(tx, MailKind.NOTIFICATION, user.email, title=title, body=body)
        self._outbox.append(tx, NO_ORGANIZATION, password_changed(user.id, revoked_keys))


class PasswordService:
    """Sets new passwords, by a link or by the current password."""

    def __init__(
        self,
        db: Database,
        credentials: Credentials,
        links: Links,
        reclaimer: AccountReclaimer,
        sessions: SessionService,
        writer: PasswordWriter,
    ) -> None:
        self._db = db
        self._credentials = credentials
        self._links = links
        self._reclaimer = reclaimer
        self._sessions = sessions
        self._writer = writer

    def reset(self, token: str, password: str) -> UUID:
        """Sets a new password by a link and resets the account's rate limit; returns the user's id.

        LINK_INVALID, LINK_EXPIRED, LINK_USED, PASSWORD_WEAK. Ends every session and revokes every API key of the user:
        an intruder may be the reason for the reset, and a key would still grant access. A weak password counts as an
        attempt to use the link; the tenth voids it.
        """
        link = self._links.find(self._db, token, Purpose.RESET_PASSWORD)
        user = users.by_id(self._db, link.subject_id)
        # The link may have been requested for an address that the user has replaced meanwhile.
        if user is None or user.email != link.email:
            raise LinkInvalid
        with self._counted_attempt(link):
            hash = self._credentials.hash_new(password, "password", user.email, user.name)
            self._credentials.reset_limit(user.email)
            with self._db.transaction() as tx:
                self._links.redeem(tx, token, Purpose.RESET_PASSWORD)
                locked = users.lock(tx, user.id)
                if locked is None or locked.email != link.email:
                    raise LinkInvalid
                if not locked.email_verified:
                    self._reclaimer.reclaim(tx, locked)
                revoked_keys = self._reclaimer.revoke_api_keys(tx, locked)
                # The link has verified the address.
                self._writer.set_password(tx, replace(locked, email_verified=True), hash, revoked_keys)
                self._sessions.end_all(tx, user.id)
        return user.id

    def change(self, user_id: UUID, session_id: UUID, current: str, new: str, address: str) -> None:
        """Sets a new password by the current one and ends the user's other sessions.

        CREDENTIALS_INVALID, TOO_MANY_ATTEMPTS, PASSWORD_WEAK.
        """
        found = users.by_id(self._db, user_id)
        if found is None:
            raise UserNotFound(user_id)
        verified = self._credentials.verify(found.email, current, address)
        hash = self._credentials.hash_new(new, "newPassword", found.email, found.name)
        with self._db.transaction() as tx:
            user = self._credentials.lock(tx, verified)
            self._writer.set_password(tx, user, hash)
            self._sessions.end_all(tx, user.id, except_id=session_id)

    @contextmanager
    def _counted_attempt(self, link: Link) -> Iterator[None]:
        """Counts the block as an attempt to use the link if its password is weak; LINK_USED.

        Counts first and reverts the count unless the password was weak, so that concurrent attempts are limited too.
        """
        with self._db.transaction() as tx:
            self._links.count_attempt(tx, link)
        try:
            yield
        except PasswordWeak:
            with self._db.transaction() as tx:
                self._links.void_if_exhausted(tx, link)
            raise
        except BaseException:
            # The caller receives the first error.
            with suppress(AppError), self._db.transaction() as tx:
                self._links.uncount_attempt(tx, link)
            raise
