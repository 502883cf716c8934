"""The use cases of invitations."""

from contextlib import ExitStack
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

from adplatform.events.v1.events_pb2 import UserNotified
from adplatform.options.v1.options_pb2 import Permission
from google.protobuf.message import Message

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import LimitReached
from adlib.idempotency import Idempotency
from adlib.identity import NO_SESSION
from adlib.ids import NewId
from adlib.outbox import Outbox
from adlib.rpc import Caller
from auth_service.access.invalidations import CacheInvalidations
from auth_service.accounts import store as accounts
from auth_service.accounts.attempts import Attempts
from auth_service.accounts.model import Membership, UserNotFound, normalized_email
from auth_service.links.model import Purpose
from auth_service.links.service import Links
from auth_service.mail.model import MailKind
from auth_service.mail.outgoing import Outgoing
from auth_service.organizations import store
from auth_service.organizations.acting import Actor, act, assignable, given_by, rights_of
from auth_service.organizations.model import (
    MAX_OPEN_INVITATIONS,
    Invitation,
    InvitationForAnother,
    InvitationVoid,
    Member,
    MemberExists,
    MemberNotFound,
    Tenant,
)
from auth_service.organizations.taking_back import organization_ids
from auth_service.roles import store as roles
from auth_service.roles.model import Role, beyond, held
from auth_service.sessions import store as sessions

M = TypeVar("M", bound=Message)

# Either lets one answer for an invitation: by sending it, or by changing its role.
_INVITING = frozenset({Permission.USERS_CREATE, Permission.USERS_UPDATE, Permission.ADMIN_FULL})


class InvitationService:
    """Inviting, and joining by invitation. What nobody could give any more cannot be accepted either."""

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        invalidations: CacheInvalidations,
        attempts: Attempts,
        links: Links,
        outgoing: Outgoing,
        clock: Clock,
        ids: NewId,
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._invalidations = invalidations
        self._attempts = attempts
        self._links = links
        self._outgoing = outgoing
        self._clock = clock
        self._ids = ids

    def invite(self, caller: Caller, email: str, code: str, idempotency: Idempotency[Member, M]) -> M:
        """Invites whoever has the e-mail; ROLE_NOT_FOUND, ROLE_NOT_ASSIGNABLE, RIGHTS_EXCEEDED, MEMBER_EXISTS."""
        email = normalized_email(email)
        with ExitStack() as counted, self._db.transaction() as tx:
            if (seen := idempotency.replay(tx)) is not None:
                return seen
            actor = act(tx, caller)
            tenant = actor.tenant
            role, given = assignable(tx, tenant, code)
            actor.require(given)
            self._make_room(tx, tenant, email)
            if store.count_open_invitations(tx, tenant.id) >= MAX_OPEN_INVITATIONS:
                raise LimitReached("open invitations in an organization", MAX_OPEN_INVITATIONS)
            now = self._clock.now()
            invitation = Invitation(self._ids(), tenant.id, email, role.code, actor.user_id, now, now)
            store.add_invitation(tx, invitation)
            return idempotency.record(tx, self._send(tx, actor, invitation, role, counted).as_member)

    def resend(self, caller: Caller, invitation_id: UUID) -> Member:
        """Sends a new link, and has the caller answer for it; USER_NOT_FOUND, RIGHTS_EXCEEDED."""
        with ExitStack() as counted, self._db.transaction() as tx:
            actor = act(tx, caller)
            invitation = self._open(tx, actor.tenant, invitation_id)
            role, given = assignable(tx, actor.tenant, invitation.role)
            actor.require(given)
            resent = replace(invitation, invited_by=actor.user_id)
            return self._send(tx, actor, resent, role, counted).as_member

    def change_role(self, tx: Transaction, actor: Actor, invitation_id: UUID, code: str) -> Member:
        """Gives the invitation another role, and has the caller answer for it; USER_NOT_FOUND and what inviting may."""
        invitation = self._open(tx, actor.tenant, invitation_id)
        role, given = assignable(tx, actor.tenant, code)
        actor.require(given, given_by(tx, actor.tenant, invitation.role))
        changed = replace(invitation, role=role.code, invited_by=actor.user_id)
        store.change_invitation(tx, changed)
        return changed.as_member

    def withdraw(self, tx: Transaction, actor: Actor, invitation_id: UUID) -> None:
        """Ends an open invitation and its link; USER_NOT_FOUND, RIGHTS_EXCEEDED."""
        invitation = self._open(tx, actor.tenant, invitation_id)
        actor.require(given_by(tx, actor.tenant, invitation.role))
        self._end(tx, invitation)

    def join(self, token: str, user_id: UUID, session_id: UUID = NO_SESSION) -> Membership:
        """Makes a person who has signed up a member, in this session of theirs; what `accept` says.

        The link was mailed to their e-mail, which this proves: the account's other sessions may be somebody else's.
        """
        with self._db.transaction() as tx:
            user = accounts.by_id(tx, user_id)
            if user is None:
                raise UserNotFound(user_id)
            membership = self.accept(tx, token, user.id, user.email)
            if not user.email_verified:
                now = self._clock.now()
                accounts.verify_email(tx, user.id, user.email, now)
                for ended in sessions.end_all(tx, user.id, session_id, now):
                    self._invalidations.session_ended(tx, ended)
                for organization_id in organization_ids(tx, user.id):
                    self._invalidations.organization_changed(tx, organization_id)
            return membership

    def accept(self, tx: Transaction, token: str, user_id: UUID, email: str) -> Membership:
        """Makes the person a member; LINK_INVALID, LINK_EXPIRED, LINK_USED, INVITATION_FOR_ANOTHER, MEMBER_EXISTS."""
        tenant, invitation, role = self._acceptable(tx, token, email)
        self._links.use(tx, token, Purpose.INVITATION)
        if store.member(tx, tenant.id, user_id):
            raise MemberExists
        now = self._clock.now()
        store.add_member(tx, tenant.id, user_id, role.code, now)
        store.accept_invitation(tx, invitation, now)
        self._invalidations.organization_changed(tx, tenant.id)
        accepted = UserNotified(
            user_id=str(invitation.invited_by),
            kind=UserNotified.INVITATION_ACCEPTED,
            title=f"{invitation.email} has joined {tenant.organization.name}",
            body=f"They accepted your invitation and have the role {role.name}.",
        )
        self._outbox.append(tx, tenant.id, accepted)
        return Membership(tenant.organization, role.code, sorted(held(tenant.kind, role.permissions)))

    def check(self, tx: Transaction, token: str, email: str) -> None:
        """LINK_INVALID, LINK_EXPIRED, LINK_USED, INVITATION_FOR_ANOTHER unless somebody with this e-mail can accept.

        No other transaction changes the invitation until the caller's ends.
        """
        self._acceptable(tx, token, email)

    def _acceptable(self, tx: Transaction, token: str, email: str) -> tuple[Tenant, Invitation, Role]:
        """The invitation with its organization, which is locked, and its role."""
        found = self._links.find(tx, token, Purpose.INVITATION)
        organization_id = store.organization_of(tx, found.subject_id)
        # The organization before the link, as everybody locks them who changes an invitation.
        tenant = store.lock(tx, organization_id) if organization_id else None
        # Again: it may have been used while we waited.
        link = self._links.find(tx, token, Purpose.INVITATION)
        invitation = store.open_invitation(tx, tenant.id, link.subject_id) if tenant else None
        if tenant is None or invitation is None:
            raise InvitationVoid
        if invitation.email != normalized_email(email):
            raise InvitationForAnother
        return tenant, invitation, self._still_given(tx, tenant, invitation)

    def _still_given(self, tx: Transaction, tenant: Tenant, invitation: Invitation) -> Role:
        """The role, where whoever answers for the invitation could give it today: the dismissed leave no doors open."""
        role = roles.find(tx, tenant.id, invitation.role)
        inviter = rights_of(tx, tenant, invitation.invited_by) or frozenset()
        if role is None or not _INVITING & inviter or beyond(inviter, held(tenant.kind, role.permissions)):
            raise InvitationVoid
        return role

    def _make_room(self, tx: Transaction, tenant: Tenant, email: str) -> None:
        """MEMBER_EXISTS; an invitation that has expired makes room for a new one."""
        if store.member_by_email(tx, tenant.id, email):
            raise MemberExists
        earlier = store.open_invitation_by_email(tx, tenant.id, email)
        if earlier is None:
            return
        if earlier.expires_at > self._clock.now():
            raise MemberExists
        self._end(tx, earlier)

    def _send(
        self, tx: Transaction, actor: Actor, invitation: Invitation, role: Role, counted: ExitStack
    ) -> Invitation:
        """Mails a new link and stores until when it can be accepted; older links stop working.

        TOO_MANY_ATTEMPTS, TOO_MANY_INVITATIONS.
        """
        # Given back where the transaction fails, which ends before `counted`.
        counted.enter_context(self._attempts.at_invitation(invitation.email, actor.tenant.id, actor.user_id))
        link = self._links.make(tx, Purpose.INVITATION, invitation.id, invitation.email)
        sent = replace(invitation, expires_at=link.expires_at)
        store.change_invitation(tx, sent)
        inviter = accounts.by_id(tx, actor.user_id)
        self._outgoing.add(
            tx,
            MailKind.INVITATION,
            invitation.email,
            link,
            organization_name=actor.tenant.organization.name,
            invited_by=inviter.name if inviter else "",
            role_name=role.name,
        )
        return sent

    def _end(self, tx: Transaction, invitation: Invitation) -> None:
        self._links.void(tx, invitation.id, Purpose.INVITATION)
        store.remove_invitation(tx, invitation)

    @staticmethod
    def _open(tx: Transaction, tenant: Tenant, invitation_id: UUID) -> Invitation:
        invitation = store.open_invitation(tx, tenant.id, invitation_id)
        if invitation is None:
            raise MemberNotFound(invitation_id)
        return invitation
