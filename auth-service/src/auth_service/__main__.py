"""auth-service: composes and serves."""

import socket
from contextlib import closing
from dataclasses import dataclass
from types import ModuleType

import redis
from adplatform.auth.v1 import (
    api_keys_pb2,
    audit_pb2,
    auth_pb2,
    jobs_pb2,
    organizations_pb2,
    personal_pb2,
    roles_pb2,
)
from google.protobuf.descriptor import ServiceDescriptor

from adlib import permissions, service
from adlib.access import CachedAccess
from adlib.audit import TOPIC as AUDIT
from adlib.audit import PostgresAuditTrail
from adlib.bus import Consumer, Handler, RedisBus
from adlib.clock import Clock, SystemClock
from adlib.config import Environment
from adlib.db import Database
from adlib.documents import Documents, PostgresDocuments
from adlib.ids import new_id
from adlib.outbox import Outbox, Relay
from adlib.purge import PurgeExpired
from adlib.rpc import ServiceProcess
from auth_service import config
from auth_service.access.invalidations import CacheInvalidations, InvalidationRelay
from auth_service.access.service import AccessService
from auth_service.access.servicer import AccessServicer
from auth_service.accounts.attempts import Attempts
from auth_service.accounts.credentials import Credentials
from auth_service.accounts.emails import Emails
from auth_service.accounts.password_changes import PasswordChanges
from auth_service.accounts.passwords import Passwords
from auth_service.accounts.proofs import EmailProofs
from auth_service.accounts.reclaiming import Reclaiming
from auth_service.accounts.service import AccountService
from auth_service.accounts.servicer import AuthServicer
from auth_service.accounts.sign_ups import NewAccount, SignUps
from auth_service.api_keys.service import ApiKeyService
from auth_service.api_keys.servicer import ApiKeyServicer
from auth_service.audit.consumer import AuditHandler
from auth_service.audit.service import AuditService
from auth_service.audit.servicer import AuditServicer
from auth_service.config import Config
from auth_service.drafts.service import DraftService
from auth_service.drafts.servicer import DraftServicer
from auth_service.jobs.servicer import AuthJobsServicer
from auth_service.links.service import Links
from auth_service.mail.outgoing import MailSender, Outgoing
from auth_service.notifications.consumer import NotificationHandler
from auth_service.notifications.service import NotificationService
from auth_service.notifications.servicer import NotificationServicer
from auth_service.organizations.invitations import InvitationService
from auth_service.organizations.members import MemberService
from auth_service.organizations.service import OrganizationService
from auth_service.organizations.servicer import OrganizationServicer
from auth_service.preferences.service import PreferenceService
from auth_service.preferences.servicer import PreferencesServicer
from auth_service.retention import RULES
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
_GROUP = "auth-service"
# How long stopping may have to wait for a reader.
_BUS_WAIT_MS = 200
# Mail servers take their time.
_MAILS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class World:
    """What every part of the service works with."""

    config: Config
    db: Database
    shared: redis.Redis
    counters: redis.Redis
    outbox: Outbox
    invalidations: CacheInvalidations
    links: Links
    outgoing: Outgoing
    passwords: Passwords
    clock: Clock

    @classmethod
    def of(
        cls,
        config: Config,
        db: Database,
        shared: redis.Redis,
        counters: redis.Redis,
        passwords: Passwords | None = None,
    ) -> "World":
        """The world that the configuration describes."""
        clock = SystemClock()
        return cls(
            config=config,
            db=db,
            shared=shared,
            counters=counters,
            outbox=Outbox("auth", clock),
            invalidations=CacheInvalidations(new_id),
            links=Links(config.keys, clock, new_id),
            outgoing=Outgoing(clock, new_id),
            passwords=passwords or Passwords(),
            clock=clock,
        )

    def consumer(self, topic: str, handle: Handler) -> Consumer:
        """Reads a topic of the bus, as one of this service's processes."""
        reader = f"{socket.gethostname()}:{self.config.common.rpc.ports[0]}"
        return Consumer(RedisBus(self.shared).subscribe(topic, _GROUP, reader), handle, wait_ms=_BUS_WAIT_MS)


def compose(config: Config, passwords: Passwords | None = None) -> ServiceProcess:
    """Opens the outside world and puts the service together; `passwords` are as argon2 recommends unless given."""
    db = Database(config.database_url)
    shared = service.connect_redis(config.common.redis_url)
    for_calls = service.connect_redis_for_calls(config.common.redis_url)
    world = World.of(config, db, shared, for_calls, passwords)
    access, audit, documents = AccessService(db, world.clock), AuditService(db), _documents(world)
    preferences = PreferenceService(documents)
    notifications = NotificationService(db, documents, preferences, world.outgoing)
    return ServiceProcess(
        servicers={
            _service(auth_pb2, "AuthService"): _people(world).servicer,
            _service(auth_pb2, "AccessService"): AccessServicer(access),
            **_organizations(world),
            _service(audit_pb2, "AuditService"): AuditServicer(audit),
            _service(personal_pb2, "PreferencesService"): PreferencesServicer(preferences),
            _service(personal_pb2, "NotificationService"): NotificationServicer(notifications),
            _service(personal_pb2, "DraftService"): DraftServicer(DraftService(documents, world.clock)),
            _service(jobs_pb2, "AuthJobsService"): AuthJobsServicer(PurgeExpired(db, world.clock, RULES)),
        },
        verifier=config.common.verifier(config.keys.get),
        access=CachedAccess(access, for_calls),
        audit=PostgresAuditTrail(db),
        background=[
            Relay(db, RedisBus(shared), world.outbox),
            InvalidationRelay(db, shared, world.invalidations.added),
            *[_mail_sender(world)] * _MAILS_AT_ONCE,
            world.consumer(world.outbox.topic, NotificationHandler(notifications)),
            world.consumer(AUDIT, AuditHandler(audit)),
        ],
        checks=[db.check],
        closing=[db.close, shared.close, for_calls.close],
    )


def _service(contract: ModuleType, name: str) -> ServiceDescriptor:
    descriptor: ServiceDescriptor = contract.DESCRIPTOR.services_by_name[name]
    return descriptor


@dataclass(frozen=True, slots=True)
class People:
    """What is made of people's accounts, and needed elsewhere."""

    servicer: AuthServicer
    sign_ups: SignUps


def _people(world: World) -> People:
    db, outbox, links, outgoing, clock = world.db, world.outbox, world.links, world.outgoing, world.clock
    firebase = world.config.firebase
    sessions = SessionService(db, outbox, world.config.keys, world.invalidations, clock, new_id)
    attempts = Attempts(world.counters, clock)
    credentials = Credentials(db, world.passwords, attempts, clock)
    reclaiming = Reclaiming(sessions, links, world.invalidations, clock)
    emails = Emails(db, outbox, credentials, attempts, links, outgoing, clock)
    accounts = AccountService(db, outbox, sessions, credentials, firebase, reclaiming, clock)
    sign_ups = SignUps(
        db, outbox, sessions, credentials, attempts, firebase, emails, _invitations(world), clock, new_id
    )  # fmt: skip
    passwords = PasswordChanges(db, outbox, sessions, credentials, attempts, links, reclaiming, outgoing, clock, new_id)
    proofs = EmailProofs(db, outbox, emails, links, reclaiming)
    return People(AuthServicer(accounts, sign_ups, passwords, emails, proofs, sessions), sign_ups)


def _organizations(world: World) -> dict[ServiceDescriptor, object]:
    db, outbox, invalidations, clock = world.db, world.outbox, world.invalidations, world.clock
    invitations = _invitations(world)
    organizations = OrganizationService(db, outbox, invalidations, clock, new_id)
    members = MemberService(db, outbox, invalidations, invitations, clock)
    keys = ApiKeyService(db, outbox, invalidations, clock, new_id)
    return {
        _service(organizations_pb2, "OrganizationService"): OrganizationServicer(organizations, members, invitations),
        _service(roles_pb2, "RoleService"): RoleServicer(RoleService(db, invalidations, clock, new_id)),
        _service(api_keys_pb2, "ApiKeyService"): ApiKeyServicer(keys),
    }


def _invitations(world: World) -> InvitationService:
    attempts = Attempts(world.counters, world.clock)
    return InvitationService(
        world.db, world.outbox, world.invalidations, attempts, world.links, world.outgoing, world.clock, new_id
    )  # fmt: skip


def _mail_sender(world: World) -> MailSender:
    config = world.config
    return MailSender(world.db, world.outgoing, config.mailer, world.links, world.clock, app_url=config.app_url)


def _documents(world: World) -> Documents:
    project_id = world.config.firestore_project_id
    if not project_id:
        return PostgresDocuments(world.db, world.clock)
    # Its client takes a second to load.
    from adlib.documents.firestore import FirestoreDocuments, connect

    return FirestoreDocuments(connect(project_id), world.clock)


def seed_roles(database_url: str) -> None:
    """Makes the database's permissions and roles those of this build."""
    db = Database(database_url)
    with db.transaction() as tx:
        if put_roles(tx, permissions.titles(), ROLES):
            CacheInvalidations(new_id).everything_changed(tx)
    db.close()


def create_admin(environment: Environment) -> None:
    """Makes the platform's own organization and its admin, unless they are there."""
    settings = config.read(environment)
    admin = NewAccount(
        email=environment.text("ADMIN_EMAIL"),
        password=environment.secret("ADMIN_PASSWORD", 12),
        name=environment.text("ADMIN_NAME", "Platform admin"),
        organization_name="Platform",
        kind="PLATFORM",
    )
    with closing(Database(settings.database_url)) as db, service.connect_redis(settings.common.redis_url) as shared:
        _people(World.of(settings, db, shared, shared)).sign_ups.ensure_platform(admin)


if __name__ == "__main__":
    service.main(
        read=config.read,
        build=compose,
        migrations=MIGRATIONS,
        after_migrations=seed_roles,
        commands={"create-admin": create_admin},
    )
