"""auth-service: composes and serves."""

import os
import socket
from contextlib import closing
from dataclasses import dataclass

import redis
from adplatform.auth.v1 import api_keys_pb2, audit_pb2, jobs_pb2, organizations_pb2, personal_pb2, roles_pb2
from adplatform.auth.v1 import auth_pb2 as pb
from google.protobuf.descriptor import ServiceDescriptor

from adlib import permissions, service
from adlib.access import EVERYTHING_CHANGED, CachedAccess
from adlib.audit import TOPIC as AUDIT
from adlib.audit import PostgresAuditTrail
from adlib.bus import Consumer, RedisBus
from adlib.clock import Clock, SystemClock
from adlib.config import Environment
from adlib.db import Database
from adlib.documents import Documents, PostgresDocuments
from adlib.ids import new_id
from adlib.outbox import Outbox, Relay
from adlib.rpc import Worker
from auth_service import config
from auth_service.access.marks import MarkPusher, Marks
from auth_service.access.service import AccessService
from auth_service.access.servicer import AccessServicer
from auth_service.access.store import add_mark
from auth_service.accounts.attempts import Attempts
from auth_service.accounts.credentials import Credentials
from auth_service.accounts.emails import Emails
from auth_service.accounts.password_changes import PasswordChanges
from auth_service.accounts.passwords import Passwords
from auth_service.accounts.reclaiming import Reclaiming
from auth_service.accounts.service import AccountService
from auth_service.accounts.servicer import AuthServicer
from auth_service.accounts.sign_ups import NewAccount, SignUps
from auth_service.api_keys.service import ApiKeyService
from auth_service.api_keys.servicer import ApiKeyServicer
from auth_service.audit.consumer import GROUP as AUDIT_GROUP
from auth_service.audit.consumer import AuditHandler
from auth_service.audit.service import AuditService
from auth_service.audit.servicer import AuditServicer
from auth_service.config import Config
from auth_service.drafts.service import DraftService
from auth_service.drafts.servicer import DraftServicer
from auth_service.jobs.service import Purge
from auth_service.jobs.servicer import AuthJobsServicer
from auth_service.links.service import Links
from auth_service.mail.outgoing import MailSender, Outgoing
from auth_service.notifications.consumer import GROUP as NOTIFICATION_GROUP
from auth_service.notifications.consumer import TOPIC as NOTIFICATION_TOPIC
from auth_service.notifications.consumer import NotificationHandler
from auth_service.notifications.service import NotificationService
from auth_service.notifications.servicer import NotificationServicer
from auth_service.organizations.invitations import InvitationService
from auth_service.organizations.members import MemberService
from auth_service.organizations.service import OrganizationService
from auth_service.organizations.servicer import OrganizationServicer
from auth_service.preferences.service import PreferenceService
from auth_service.preferences.servicer import PreferencesServicer
from auth_service.roles.model import ROLES
from auth_service.roles.service import RoleService
from auth_service.roles.servicer import RoleServicer
from auth_service.roles.store import put as put_roles
from auth_service.sessions.service import SessionService

MIGRATIONS = (
    ("adlib", "migrations/outbox"),
    ("adlib", "migrations/audit"),
    ("adlib", "migrations/inbox"),
    ("adlib", "migrations/idempotency"),
    ("adlib", "migrations/documents"),
    ("auth_service", "migrations"),
)


def compose(config: Config) -> Worker:
    """Puts the service together."""
    clock = SystemClock()
    db = Database(config.database_url)
    shared = service.connect_redis(config.common.redis_url)
    outbox = Outbox("auth", clock)
    people = _people(config, db, shared, outbox, clock)
    access = AccessService(db, clock)
    audit = AuditService(db)
    recorded = RedisBus(shared).subscribe(AUDIT, AUDIT_GROUP, f"{socket.gethostname()}-{os.getpid()}")
    documents = _documents(config, db, clock)
    preferences = PreferenceService(documents)
    notifications = NotificationService(db, documents, preferences, people.outgoing)
    told = RedisBus(shared).subscribe(NOTIFICATION_TOPIC, NOTIFICATION_GROUP, f"{socket.gethostname()}-{os.getpid()}")
    verifier = config.common.verifier(config.keys.get)
    services = pb.DESCRIPTOR.services_by_name
    personal = personal_pb2.DESCRIPTOR.services_by_name
    return Worker(
        servicers={
            services["AuthService"]: people.servicer,
            services["AccessService"]: AccessServicer(access),
            personal["PreferencesService"]: PreferencesServicer(preferences),
            personal["NotificationService"]: NotificationServicer(notifications),
            personal["DraftService"]: DraftServicer(DraftService(documents, clock)),
            jobs_pb2.DESCRIPTOR.services_by_name["AuthJobsService"]: AuthJobsServicer(Purge(db, documents, clock)),
            audit_pb2.DESCRIPTOR.services_by_name["AuditService"]: AuditServicer(audit),
            **_of_organizations(people, db, outbox, clock),
        },
        verifier=verifier,
        access=CachedAccess(access, shared),
        audit=PostgresAuditTrail(db),
        background=[
            Relay(db, RedisBus(shared), outbox),
            MarkPusher(db, shared),
            people.mail,
            Consumer(told, NotificationHandler(notifications), wait_ms=200),
            Consumer(recorded, AuditHandler(audit).handle, wait_ms=200),
        ],
        checks=[db.check],
        closing=[db.close, shared.close],
    )


def _of_organizations(people: "_People", db: Database, outbox: Outbox, clock: Clock) -> dict[ServiceDescriptor, object]:
    marks, invitations = people.marks, people.invitations
    organizations = OrganizationService(db, outbox, marks, clock, new_id)
    members = MemberService(db, outbox, marks, invitations, clock)
    roles = RoleService(db, marks, clock, new_id)
    keys = ApiKeyService(db, outbox, marks, clock, new_id)
    return {
        organizations_pb2.DESCRIPTOR.services_by_name["OrganizationService"]: OrganizationServicer(
            organizations, members, invitations
        ),
        roles_pb2.DESCRIPTOR.services_by_name["RoleService"]: RoleServicer(roles),
        api_keys_pb2.DESCRIPTOR.services_by_name["ApiKeyService"]: ApiKeyServicer(keys),
    }


def _documents(config: Config, db: Database, clock: Clock) -> Documents:
    if not config.firestore_project_id:
        return PostgresDocuments(db, clock)
    # Its client takes a second to load.
    from adlib.documents.firestore import FirestoreDocuments, connect

    return FirestoreDocuments(connect(config.firestore_project_id), clock)


@dataclass(frozen=True, slots=True)
class _People:
    """What is made of people's accounts, and needed elsewhere."""

    servicer: AuthServicer
    sign_ups: SignUps
    invitations: InvitationService
    marks: Marks
    outgoing: Outgoing
    mail: MailSender


def _people(config: Config, db: Database, shared: redis.Redis, outbox: Outbox, clock: Clock) -> _People:
    marks = Marks(db, shared, new_id)
    sessions = SessionService(db, outbox, config.keys, marks, clock, new_id)
    links = Links(config.keys, clock, new_id)
    outgoing = Outgoing(clock, new_id)
    attempts = Attempts(shared, clock)
    credentials = Credentials(db, Passwords(), attempts, clock)
    invitations = InvitationService(db, outbox, marks, links, outgoing, clock, new_id)
    emails = Emails(db, outbox, credentials, attempts, links, outgoing, clock)
    reclaiming = Reclaiming(sessions, links, marks, clock)
    accounts = AccountService(db, outbox, sessions, credentials, config.firebase, reclaiming, clock)
    sign_ups = SignUps(db, outbox, sessions, credentials, config.firebase, emails, invitations, clock, new_id)
    passwords = PasswordChanges(db, outbox, sessions, credentials, attempts, links, reclaiming, outgoing, clock, new_id)
    return _People(
        servicer=AuthServicer(accounts, sign_ups, passwords, emails, sessions),
        sign_ups=sign_ups,
        invitations=invitations,
        marks=marks,
        outgoing=outgoing,
        mail=MailSender(db, outgoing, config.mailer, links, clock, app_url=config.app_url),
    )


def seed_roles(database_url: str) -> None:
    """Makes the database's permissions and roles those of this build."""
    db = Database(database_url)
    with db.transaction() as tx:
        if put_roles(tx, permissions.titles(), ROLES):
            add_mark(tx, new_id(), EVERYTHING_CHANGED)
    db.close()


def create_admin(environment: Environment) -> None:
    """Makes the platform's own organization and its admin, unless they are there."""
    settings = config.read(environment)
    clock = SystemClock()
    admin = NewAccount(
        email=environment.text("ADMIN_EMAIL"),
        password=environment.secret("ADMIN_PASSWORD", 12),
        name=environment.text("ADMIN_NAME", "Platform admin"),
        organization_name="Platform",
        kind="PLATFORM",
    )
    with closing(Database(settings.database_url)) as db, service.connect_redis(settings.common.redis_url) as shared:
        _people(settings, db, shared, Outbox("auth", clock), clock).sign_ups.ensure_platform(admin)


if __name__ == "__main__":
    service.main(
        read=config.read,
        settings=lambda config: config.common.rpc,
        compose=compose,
        migrations=MIGRATIONS,
        after_migrations=seed_roles,
        commands={"create-admin": create_admin},
    )
