"""Changing a password, by the old one or by a link."""

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
from auth_service.accounts import notices, store
from auth_service.accounts.attempts import Attempts
from auth_service.accounts.credentials import Credentials
from auth_service.accounts.model import PasswordWeak, User, UserNotFound, normalized_email
from auth_service.accounts.reclaiming import Reclaiming
from auth_service.links.model import Link, LinkInvalid, Purpose
from auth_service.links.service import Links
from auth_service.mail.model import MailKind
from auth_service.mail.outgoing import Outgoing
from auth_service.sessions.service import SessionService


class PasswordChanges:
    """The use cases of a new password."""

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        sessions: SessionService,
        credentials: Credentials,
        attempts: Attempts,
        links: Links,
        reclaiming: Reclaiming,
        outgoing: Outgoing,
        clock: Clock,
        ids: NewId,
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._sessions = sessions
        self._credentials = credentials
        self._attempts = attempts
        self._links = links
        self._reclaiming = reclaiming
        self._outgoing = outgoing
        self._clock = clock
        self._ids = ids

    def forgot(self, email: str, address: str) -> None:
        """Sends a link to set a new password, where somebody has signed up with the e-mail; TOO_MANY_ATTEMPTS.

        Nobody learns which, not from the time either: the same is written for an e-mail that nobody has, and undone
        by making the link unusable, since mail with such a link is not sent.
        """
        email = normalized_email(email)
        nobody = self._ids()
        with self._attempts.at_mail(email, address):
            found = store.by_email(self._db, email)
            with self._db.transaction() as tx:
                link = self._links.make(tx, Purpose.RESET_PASSWORD, found[0].id if found else nobody, email)
                self._outgoing.add(tx, MailKind.RESET_PASSWORD, email, link)
                self._links.void(tx, nobody, Purpose.RESET_PASSWORD)

    def reset(self, token: str, password: str) -> UUID:
        """Sets a new password by that link, and releases the account where it was locked; whose it is.

        Ends every session and every API key that the person made: they may be here because somebody else got in, and
        a key would let them stay. A weak password counts as a try of the link, and the tenth uses it up.
        """
        link = self._links.find(self._db, token, Purpose.RESET_PASSWORD)
        user = store.by_id(self._db, link.subject_id)
        # It was asked for by the old e-mail in the moment that another one took its place.
        if user is None or user.email != link.email:
            raise LinkInvalid
        with self._tried(link):
            hashed = self._credentials.accept(password, "password", user.email, user.name)
            self._attempts.released(user.email)
            with self._db.transaction() as tx:
                self._links.use(tx, token, Purpose.RESET_PASSWORD)
                locked = store.lock(tx, user.id)
                if locked is None or locked.email != link.email:
                    raise LinkInvalid
                if not locked.email_verified:
                    for organization_id, notice in self._reclaiming.reclaim(tx, locked):
                        self._outbox.append(tx, organization_id, notice)
                revoked = self._reclaiming.revoke_api_keys(tx, locked)
                # The link has shown that the e-mail is theirs.
                self._change(tx, replace(locked, email_verified=True), hashed, revoked)
                self._sessions.end_all(tx, user.id)
        return user.id

    def change(self, user_id: UUID, session_id: UUID, current: str, new: str, address: str) -> None:
        """Sets a new password by the current one; ends the person's other sessions; CREDENTIALS_INVALID."""
        known = store.by_id(self._db, user_id)
        if known is None:
            raise UserNotFound(user_id)
        proof = self._credentials.check(known.email, current, address)
        hashed = self._credentials.accept(new, "newPassword", known.email, known.name)
        with self._db.transaction() as tx:
            user = self._credentials.hold(tx, proof)
            self._change(tx, user, hashed)
            self._sessions.end_all(tx, user.id, but=session_id)

    @contextmanager
    def _tried(self, link: Link) -> Iterator[None]:
        """Around a try of the link, which counts where the password is weak; LINK_USED.

        It is counted first, and given back unless the password was weak: tries at the same time are too many, too.
        """
        with self._db.transaction() as tx:
            self._links.count_try(tx, link)
        try:
            yield
        except PasswordWeak:
            with self._db.transaction() as tx:
                self._links.end_if_spent(tx, link)
            raise
        except BaseException:
            # The first failure is what the caller hears of.
            with suppress(AppError), self._db.transaction() as tx:
                self._links.give_try_back(tx, link)
            raise

    def _change(self, tx: Transaction, user: User, hashed: str, revoked_keys: Sequence[str] = ()) -> None:
        store.set_password(tx, user.id, hashed, self._clock.now())
        # Whoever knew the old password may have asked for these.
        self._links.void(tx, user.id, Purpose.RESET_PASSWORD, Purpose.CHANGE_EMAIL)
        # An e-mail that nobody verified may be a stranger's, whom anybody could have written to without end.
        if user.email_verified:
            self._outgoing.add(tx, MailKind.PASSWORD_CHANGED, user.email)
            if revoked_keys:
                title, body = "Your API keys were revoked", notices.keys_revoked(revoked_keys)
                self._outgoing.add(tx, MailKind.NOTIFICATION, user.email, title=title, body=body)
        self._outbox.append(tx, NO_ORGANIZATION, notices.password_changed(user.id, revoked_keys))
