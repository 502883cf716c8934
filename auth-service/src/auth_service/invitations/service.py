"""Sends, changes, withdraws and accepts invitations."""

from contextlib import ExitStack
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

from google.protobuf.message import Message

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import LimitReached
from adlib.idempotency import Idempotency
from adlib.ids import NewId
from adlib.outbox import Outbox
from adlib.rpc import Caller
from auth_service.authorization.model import Actor, Role, effective, missing
from auth_service.authorization.service import assignable_role, authorize, permissions_of, permissions_of_role
from auth_service.authorization.store import find_role
from auth_service.invalidations.service import CacheInvalidations
from auth_service.invitations import store
from auth_service.invitations.messages import invitation_accepted
from auth_service.invitations.model import (
    INVITE_PERMISSIONS,
    MAX_OPEN,
    Invitation,
    InvitationForAnother,
    InvitationVoid,
    MemberExists,
)
from auth_service.links.model import Purpose
from auth_service.links.service import Links
from auth_service.mail.model import MailKind
from auth_service.mail.service import OutgoingMail
from auth_service.rate_limits.service import AttemptLimiter
from auth_service.sessions.service import SessionService
from auth_service.tenancy import store as tenancy
from auth_service.tenancy.model import Member, MemberNotFound, Membership, Tenant
from auth_service.users import store as users
from auth_service.users.model import UserNotFound, normalized_email

M = TypeVar("M", bound=Message)


class InvitationService:
    """The use cases of the members who invite."""

    def __init__(
        self, db: Database, limiter: AttemptLimiter, links: Links, mail: OutgoingMail, clock: Clock, ids: NewId
    ) -> None:
        self._db = db
        self._limiter = limiter
        self._links = links
        self._mail = mail
        self._clock = clock
        self._ids = ids

    def invite(self, caller: Caller, email: str, code: str, idempotency: Idempotency[Member, M]) -> M:
        """Invites an e-mail address.

        ROLE_NOT_FOUND, ROLE_NOT_ASSIGNABLE, RIGHTS_EXCEEDED, MEMBER_EXISTS, LIMIT_REACHED and the errors of `_send`.
        """
        email = normalized_email(email)
        with ExitStack() as counted, self._db.transaction() as tx:
            if (replayed := idempotency.replay(tx)) is not None:
                return replayed
            actor = authorize(tx, caller)
            tenant = actor.tenant
            role, assigned = assignable_role(tx, tenant, code)
            actor.require(assigned)
            self._require_not_invited(tx, tenant, email)
            if store.count_open(tx, tenant.id) >= MAX_OPEN:
                raise LimitReached("open invitations in an organization", MAX_OPEN)
            now = self._clock.now()
            invitation = Invitation(self._ids(), tenant.id, email, role.code, actor.user_id, now, now)
            store.add(tx, invitation)
            return idempotency.record(tx, self._send(tx, actor, invitation, role, counted).as_member)

    def resend(self, caller: Caller, invitation_id: UUID) -> Member:
        """Mails a new link and makes the caller responsible; USER_NOT_FOUND, RIGHTS_EXCEEDED, the errors of `_send`."""
        with ExitStack() as counted, self._db.transaction() as tx:
            actor = authorize(tx, caller)
            invitation = _find_open(tx, actor.tenant, invitation_id)
            role, assigned = assignable_role(tx, actor.tenant, invitation.role)
            actor.require(assigned)
            resent = replace(invitation, invited_by=actor.user_id)
            return self._send(tx, actor, resent, role, counted).as_member

    def change_role(self, tx: Transaction, actor: Actor, invitation_id: UUID, code: str) -> Member:
        """Changes the role and makes the actor responsible.

        USER_NOT_FOUND, ROLE_NOT_FOUND, ROLE_NOT_ASSIGNABLE, RIGHTS_EXCEEDED.
        """
        invitation = _find_open(tx, actor.tenant, invitation_id)
        role, assigned = assignable_role(tx, actor.tenant, code)
        actor.require(assigned, permissions_of_role(tx, actor.tenant, invitation.role))
        changed = replace(invitation, role=role.code, invited_by=actor.user_id)
        store.update_open(tx, changed)
        return changed.as_member

    def withdraw(self, tx: Transaction, actor: Actor, invitation_id: UUID) -> None:
        """Deletes an open invitation and voids its link; USER_NOT_FOUND, RIGHTS_EXCEEDED."""
        invitation = _find_open(tx, actor.tenant, invitation_id)
        actor.require(permissions_of_role(tx, actor.tenant, invitation.role))
        delete_invitation(tx, self._links, invitation)

    def _require_not_invited(self, tx: Transaction, tenant: Tenant, email: str) -> None:
        """MEMBER_EXISTS if the address is a member's or has an open invitation; deletes one that has expired."""
        if store.is_member(tx, tenant.id, email):
            raise MemberExists
        earlier = store.find_open_by_email(tx, tenant.id, email)
        if earlier is None:
            return
        if earlier.expires_at > self._clock.now():
            raise MemberExists
        delete_invitation(tx, self._links, earlier)

    def _send(
        self, tx: Transaction, actor: Actor, invitation: Invitation, role: Role, counted: ExitStack
    ) -> Invitation:
        """Mails a new link, voids the older ones and stores the expiry; TOO_MANY_ATTEMPTS, TOO_MANY_INVITATIONS."""
        # The transaction ends before `counted`, which reverts the count if the commit fails.
        counted.enter_context(self._limiter.count_invitation(invitation.email, actor.tenant.id, actor.user_id))
        link = self._links.create(tx, Purpose.INVITATION, invitation.id, invitation.email)
        sent = replace(invitation, expires_at=link.expires_at)
        store.update_open(tx, sent)
        inviter = users.by_id(tx, actor.user_id)
        self._mail.add(
            tx,
            MailKind.INVITATION,
            invitation.email,
            link,
            organization_name=actor.tenant.organization.name,
            invited_by=inviter.name if inviter else "",
            role_name=role.name,
        )
        return sent


class InvitationAcceptance:
    """The use cases of the people who are invited."""

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        invalidations: CacheInvalidations,
        links: Links,
        sessions: SessionService,
        clock: Clock,
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._invalidations = invalidations
        self._links = links
        self._sessions = sessions
        self._clock = clock

    def join(self, token: str, user_id: UUID, session_id: UUID) -> Membership:
        """Makes a signed-in user a member; the errors of `accept`.

        The link was mailed to the user's address, so it verifies the address. The account's other sessions end, because
        another person may have signed up with that address.
        """
        with self._db.transaction() as tx:
            user = users.by_id(tx, user_id)
            if user is None:
                raise UserNotFound(user_id)
            membership = self.accept(tx, token, user.id, user.email)
            if not user.email_verified:
                users.verify_email(tx, user.id, user.email, self._clock.now())
                self._sessions.end_all(tx, user.id, except_id=session_id)
                for organization_id in tenancy.organization_ids_any_tenant(tx, user.id):
                    self._invalidations.organization_changed(tx, organization_id)
            return membership

    def accept(self, tx: Transaction, token: str, user_id: UUID, email: str) -> Membership:
        """Makes the user a member; LINK_INVALID, LINK_EXPIRED, LINK_USED, INVITATION_FOR_ANOTHER, MEMBER_EXISTS."""
        tenant, invitation, role = self._find_acceptable(tx, token, email)
        self._links.redeem(tx, token, Purpose.INVITATION)
        if tenancy.member(tx, tenant.id, user_id):
            raise MemberExists
        now = self._clock.now()
        tenancy.add_member(tx, tenant.id, user_id, role.code, now)
        store.mark_accepted(tx, invitation, now)
        self._invalidations.organization_changed(tx, tenant.id)
        self._outbox.append(tx, tenant.id, invitation_accepted(invitation, tenant, role))
        return Membership(tenant.organization, role.code, sorted(effective(tenant.kind, role.permissions)))

    def require_acceptable(self, tx: Transaction, token: str, email: str) -> None:
        """LINK_INVALID, LINK_EXPIRED, LINK_USED or INVITATION_FOR_ANOTHER unless this e-mail address can accept.

        The invitation stays locked until the transaction ends.
        """
        self._find_acceptable(tx, token, email)

    def _find_acceptable(self, tx: Transaction, token: str, email: str) -> tuple[Tenant, Invitation, Role]:
        """The invitation with its organization, which is locked, and its role."""
        found = self._links.find(tx, token, Purpose.INVITATION)
        organization_id = store.organization_of_any_tenant(tx, found.subject_id)
        # The organization is locked before the link, as in every transaction that changes an invitation.
        tenant = tenancy.lock(tx, organization_id) if organization_id else None
        # Read again: the link may have been used while this transaction waited for the lock.
        link = self._links.find(tx, token, Purpose.INVITATION)
        invitation = store.find_open(tx, tenant.id, link.subject_id) if tenant else None
        if tenant is None or invitation is None:
            raise InvitationVoid
        if invitation.email != normalized_email(email):
            raise InvitationForAnother
        return tenant, invitation, _require_responsible(tx, tenant, invitation)


def delete_invitation(tx: Transaction, links: Links, invitation: Invitation) -> None:
    """Deletes an open invitation and voids its link."""
    links.void(tx, invitation.id, Purpose.INVITATION)
    store.remove(tx, invitation)


def _require_responsible(tx: Transaction, tenant: Tenant, invitation: Invitation) -> Role:
    """The role; LINK_INVALID if the responsible member, who may have been removed, could not assign it now."""
    role = find_role(tx, tenant.id, invitation.role)
    inviter = permissions_of(tx, tenant, invitation.invited_by) or frozenset()
    if role is None or not INVITE_PERMISSIONS & inviter or missing(inviter, effective(tenant.kind, role.permissions)):
        raise InvitationVoid
    return role


def _find_open(tx: Transaction, tenant: Tenant, invitation_id: UUID) -> Invitation:
    invitation = store.find_open(tx, tenant.id, invitation_id)
    if invitation is None:
        raise MemberNotFound(invitation_id)
    return invitation
