"""Using the links that prove an e-mail."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.db import Database, Transaction
from adlib.errors import FailedPrecondition
from adlib.outbox import Outbox
from adlib.rpc import NO_ORGANIZATION, Caller
from auth_service.accounts import notices, store
from auth_service.accounts.emails import Emails
from auth_service.accounts.model import User
from auth_service.accounts.reclaiming import Reclaiming
from auth_service.links.model import LinkInvalid, Purpose
from auth_service.links.service import Links
from auth_service.organizations.taking_back import Notice


class SessionRequired(FailedPrecondition):
    """The new e-mail's owner may be another person than the one who asked for the change."""

    reason = ErrorReason.SESSION_REQUIRED

    def __init__(self) -> None:
        super().__init__("sign in to the account with its old e-mail, and open the link again in the same browser")


@dataclass(frozen=True, slots=True)
class Proof:
    """Whose e-mail was proven; `password_reset_token` where the account has no password any more."""

    user: User
    password_reset_token: str = ""


class EmailProofs:
    """The use cases of links to an e-mail; `by` is the session that opens the link, if any."""

    def __init__(self, db: Database, outbox: Outbox, emails: Emails, links: Links, reclaiming: Reclaiming) -> None:
        self._db = db
        self._outbox = outbox
        self._emails = emails
        self._links = links
        self._reclaiming = reclaiming

    def verify(self, token: str, by: Caller | None) -> Proof:
        """Uses the link that verifies an e-mail; LINK_INVALID, LINK_EXPIRED, LINK_USED, TOKEN_INVALID."""
        with self._db.transaction() as tx:
            link = self._links.use(tx, token, Purpose.VERIFY_EMAIL)
            user = store.lock(tx, link.subject_id)
            if user is None or user.email != link.email:
                raise LinkInvalid
            verified = replace(user, email_verified=True)
            if user.email_verified:
                return Proof(verified)
            proven = self._reclaiming.prove(tx, user, by)
            if proven.by_own_session:
                return Proof(verified)
            return self._without_password(tx, verified, proven.notices)

    def confirm_change(self, token: str, by: Caller | None) -> Proof:
        """Uses the link that was sent to a new e-mail; what `verify` may, and EMAIL_TAKEN, SESSION_REQUIRED."""
        with self._db.transaction() as tx:
            link = self._links.use(tx, token, Purpose.CHANGE_EMAIL)
            old = store.lock(tx, link.subject_id)
            if old is None:
                raise LinkInvalid
            user = self._emails.change(tx, old, link.email)
            if by is not None and by.user_id == old.id:
                if old.email_verified:
                    self._reclaiming.keep_only(tx, old, by)
                else:
                    self._reclaiming.prove(tx, user, by)
                return Proof(user)
            # Somebody may have had the link sent to a stranger, who shall not get an account with others in it.
            if old.email_verified and self._reclaiming.takes_from_others(tx, old):
                raise SessionRequired
            return self._without_password(tx, user, self._reclaiming.reclaim(tx, old))

    def _without_password(self, tx: Transaction, user: User, ended: Sequence[Notice]) -> Proof:
        """Notifies everybody of what ended, and lets the person set a password."""
        for organization_id, notice in ended:
            self._outbox.append(tx, organization_id, notice)
        self._outbox.append(tx, NO_ORGANIZATION, notices.password_removed(user.id))
        link = self._links.make(tx, Purpose.RESET_PASSWORD, user.id, user.email)
        return Proof(user, self._links.token(link))
