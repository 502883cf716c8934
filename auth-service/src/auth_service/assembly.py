"""Builds the services that several features or commands share."""

from dataclasses import dataclass
from typing import NamedTuple

import redis

from adlib.access import CachedAccess
from adlib.clock import Clock
from adlib.db import Database
from adlib.documents import Documents, PostgresDocuments
from adlib.ids import NewId, new_id
from adlib.outbox import Outbox
from adlib.service import Authorization, Dependencies
from auth_service.access.service import AccessService
from auth_service.accounts.service import AccountService
from auth_service.config import Config
from auth_service.credentials.service import Credentials
from auth_service.emails.service import EmailService
from auth_service.invalidations.service import CacheInvalidations
from auth_service.invitations.service import InvitationAcceptance, InvitationService
from auth_service.links.service import Links
from auth_service.mail.service import OutgoingMail
from auth_service.members.service import MemberService
from auth_service.organizations.service import OrganizationService
from auth_service.password_hashing import Argon2Hasher
from auth_service.passwords.service import PasswordResetRequests, PasswordService, PasswordWriter
from auth_service.rate_limits.service import AttemptLimiter
from auth_service.reclaiming.service import AccountReclaimer
from auth_service.sessions.service import SessionService
from auth_service.signup.service import NewUsers, Registration, SignUpService
from auth_service.verification.service import EmailVerification


@dataclass(frozen=True, slots=True)
class Core:
    """The services on which the features of accounts and of organizations are built."""

    db: Database
    clock: Clock
    ids: NewId
    outbox: Outbox
    invalidations: CacheInvalidations
    links: Links
    mail: OutgoingMail
    limiter: AttemptLimiter
    sessions: SessionService
    credentials: Credentials
    acceptance: InvitationAcceptance
    new_users: NewUsers
    registration: Registration

    @classmethod
    def build(
        cls, config: Config, db: Database, counters: redis.Redis, clock: Clock, hasher: Argon2Hasher | None = None
    ) -> "Core":
        """`counters` is the Redis of the rate limits; the hasher has argon2's recommended parameters by default."""
        outbox, invalidations = Outbox("auth", clock), CacheInvalidations(new_id)
        links, mail = Links(config.keys, clock, new_id), OutgoingMail(clock, new_id)
        limiter = AttemptLimiter(counters, clock)
        sessions = SessionService(db, outbox, config.keys, invalidations, clock, new_id)
        credentials = Credentials(db, hasher or Argon2Hasher(), limiter, clock)
        acceptance = InvitationAcceptance(db, outbox, invalidations, links, sessions, clock)
        return cls(
            db=db,
            clock=clock,
            ids=new_id,
            outbox=outbox,
            invalidations=invalidations,
            links=links,
            mail=mail,
            limiter=limiter,
            sessions=sessions,
            credentials=credentials,
            acceptance=acceptance,
            new_users=NewUsers(credentials, config.firebase, new_id),
            registration=Registration(outbox, acceptance, clock, new_id),
        )


class AccountServices(NamedTuple):
    """The services of users' accounts, in the order of `AuthServicer`'s parameters."""

    sign_up: SignUpService
    accounts: AccountService
    reset_requests: PasswordResetRequests
    passwords: PasswordService
    emails: EmailService
    verification: EmailVerification
    sessions: SessionService

    @classmethod
    def build(cls, core: Core, config: Config) -> "AccountServices":
        """The services on this core."""
        db, outbox, links, mail, clock = core.db, core.outbox, core.links, core.mail, core.clock
        sessions, credentials, limiter = core.sessions, core.credentials, core.limiter
        reclaimer = AccountReclaimer(outbox, sessions, links, core.invalidations, clock)
        emails = EmailService(db, outbox, credentials, limiter, links, mail)
        writer = PasswordWriter(outbox, links, mail, clock)
        return cls(
            sign_up=SignUpService(db, limiter, core.new_users, core.registration, emails, sessions),
            accounts=AccountService(db, outbox, sessions, credentials, config.firebase, reclaimer, clock),
            reset_requests=PasswordResetRequests(db, limiter, links, mail, core.ids),
            passwords=PasswordService(db, credentials, links, reclaimer, sessions, writer),
            emails=emails,
            verification=EmailVerification(db, outbox, links, mail, reclaimer, clock),
            sessions=sessions,
        )


class OrganizationServices(NamedTuple):
    """The services of organizations and their members, in the order of `OrganizationServicer`'s parameters."""

    organizations: OrganizationService
    members: MemberService
    invitations: InvitationService
    acceptance: InvitationAcceptance

    @classmethod
    def build(cls, core: Core) -> "OrganizationServices":
        """The services on this core."""
        db, outbox, invalidations, clock, ids = core.db, core.outbox, core.invalidations, core.clock, core.ids
        invitations = InvitationService(db, core.limiter, core.links, core.mail, clock, ids)
        return cls(
            organizations=OrganizationService(db, outbox, invalidations, clock, ids),
            members=MemberService(db, outbox, invalidations, invitations, clock),
            invitations=invitations,
            acceptance=core.acceptance,
        )


def connect(config: Config, db: Database, access: AccessService, call_redis: redis.Redis) -> Dependencies:
    """The dependencies of every service, authorized by this service's own tables. They close `db` and `call_redis`."""
    authorization = Authorization(config.common.verifier(config.keys.get), CachedAccess(access, call_redis))
    own = Dependencies.from_config(config.common, authorization=authorization)
    own.database = db
    own.closing += [db.close, call_redis.close]
    return own


def build_documents(config: Config, db: Database, clock: Clock) -> Documents:
    """The users' documents, in Firestore if a project is configured and otherwise in PostgreSQL."""
    if not config.firestore_project_id:
        return PostgresDocuments(db, clock)
    # Imported only if configured: its client takes a second to load.
    from adlib.documents import firestore

    return firestore.FirestoreDocuments(firestore.connect(config.firestore_project_id), clock)
