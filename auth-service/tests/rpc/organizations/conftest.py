"""Users and organizations in the database, and calls to the real servicers as these users."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.auth.v1 import api_keys_pb2_grpc, organizations_pb2_grpc, roles_pb2_grpc
from adplatform.events.v1.events_pb2 import Event, UserNotified
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status
from sqlalchemy import bindparam, insert, select

from adlib import outbox as outboxes
from adlib import permissions
from adlib.audit import PostgresAuditTrail
from adlib.clock import FixedClock
from adlib.db import Database, Query
from adlib.identity import ApiKey, Person
from adlib.ids import new_id
from adlib.outbox import Outbox
from adlib.rpc import Caller, ServiceProcess
from adlib.service import connect_redis
from adtesting import Identities, running, stub_channel
from auth_service.access.service import AccessService
from auth_service.api_keys.service import ApiKeyService
from auth_service.api_keys.servicer import ApiKeyServicer
from auth_service.invalidations.service import CacheInvalidations
from auth_service.invalidations.tasks import InvalidationRelay
from auth_service.invitations.service import InvitationAcceptance, InvitationService
from auth_service.links.model import Purpose
from auth_service.links.service import Links
from auth_service.links.store import unused
from auth_service.mail.service import OutgoingMail
from auth_service.members.service import MemberService
from auth_service.organizations.service import OrganizationService
from auth_service.organizations.servicer import OrganizationServicer
from auth_service.rate_limits.service import AttemptLimiter
from auth_service.roles.service import RoleService
from auth_service.roles.servicer import RoleServicer
from auth_service.sessions.service import SessionService
from auth_service.signing_keys import KeyRing
from auth_service.tables import invitations, links, organizations, outgoing_mails, sessions, users
from auth_service.tenancy import store
from auth_service.tenancy.model import Organization

_ADD_PERSON = Query(
    insert(users).values(
        id=bindparam("id"), email=bindparam("email"), name=bindparam("name"),
        email_verified_at=bindparam("verified_at"), created_at=bindparam("at"), updated_at=bindparam("at"),
    )
)  # fmt: skip
_ADD_SESSION = Query(
    insert(sessions).values(id=bindparam("id"), user_id=bindparam("user_id"), created_at=bindparam("at"))
)
_EVENTS = Query(
    select(outboxes.table.c.payload)
    .where(outboxes.table.c.topic == "auth")
    .order_by(outboxes.table.c.position.desc())
    .limit(1000)
)
_LAST_LINK = Query(
    select(links.c.id).where(links.c.purpose == Purpose.INVITATION.value, links.c.used_at.is_(None))
    .order_by(links.c.id.desc()).limit(1)
)  # fmt: skip
_MAILS = Query(select(outgoing_mails).where(outgoing_mails.c.recipient == bindparam("email")).limit(100))
_PLATFORM = Query(select(organizations.c.id).where(organizations.c.kind == "PLATFORM"))
_ACCEPTED = Query(select(invitations.c.accepted_at).where(invitations.c.id == bindparam("id")))


@dataclass(frozen=True)
class EnvUser:
    id: UUID
    email: str
    person: Person


class Env:
    """Inserts users and organizations by SQL, so that no test waits for a password hash."""

    def __init__(self, database_url: str, redis_url: str, folder: Path) -> None:
        self.clock = FixedClock(datetime.now(UTC))
        # The address of a person who has not signed up; a new one in every test.
        self.new_email = ""
        self.db = Database(database_url)
        self.shared = connect_redis(redis_url)
        self.identities = Identities("auth-service")
        self.access = AccessService(self.db, self.clock)
        outbox = Outbox("auth", self.clock)
        invalidations = CacheInvalidations(new_id)
        self.invalidations = InvalidationRelay(self.db, self.shared, invalidations.added)
        keys = KeyRing(folder, self.clock)
        self.links = Links(keys, self.clock, new_id)
        limiter, mail = AttemptLimiter(self.shared, self.clock), OutgoingMail(self.clock, new_id)
        self.invitations = InvitationService(self.db, limiter, self.links, mail, self.clock, new_id)
        sessions = SessionService(self.db, outbox, keys, invalidations, self.clock, new_id)
        self.acceptance = InvitationAcceptance(self.db, outbox, invalidations, self.links, sessions, self.clock)
        self.members = MemberService(self.db, outbox, invalidations, self.invitations, self.clock)
        self.organizations = OrganizationService(self.db, outbox, invalidations, self.clock, new_id)
        self.roles = RoleService(self.db, invalidations, self.clock, new_id)
        self.keys = ApiKeyService(self.db, outbox, invalidations, self.clock, new_id)

    def worker(self) -> ServiceProcess:
        servicers = [
            OrganizationServicer(self.organizations, self.members, self.invitations, self.acceptance),
            RoleServicer(self.roles),
            ApiKeyServicer(self.keys),
        ]
        return ServiceProcess(
            servicers={servicer.contract: servicer for servicer in servicers},
            verifier=self.identities.verifier(),
            access=self.access,
            audit=PostgresAuditTrail(self.db),
        )

    def close(self) -> None:
        self.db.close()
        self.shared.close()

    def add_user(self, name: str = "Ada", email: str = "", *, email_verified: bool = True) -> EnvUser:
        person = Person(new_id(), new_id())
        email = email or f"{uuid4().hex}@example.com"
        with self.db.transaction() as tx:
            now = self.clock.now()
            verified_at = now if email_verified else None
            tx.execute(_ADD_PERSON, id=person.user_id, email=email, name=name, verified_at=verified_at, at=now)
            tx.execute(_ADD_SESSION, id=person.session_id, user_id=person.user_id, at=self.clock.now())
        return EnvUser(person.user_id, email, person)

    def add_organization(self, owner: EnvUser, kind: str = "ADVERTISER", name: str = "Acme") -> UUID:
        """An organization that the user owns. There is one platform, which they join if it exists."""
        row = self.db.one(_PLATFORM) if kind == "PLATFORM" else None
        if row:
            self._join(owner, row.id, "admin")
            return row.id
        made = Organization(new_id(), name, kind)
        with self.db.transaction() as tx:
            store.add(tx, made, owner.id, self.clock.now())
        return made.id

    def add_member(self, organization_id: UUID, role: str, name: str = "Bob") -> EnvUser:
        someone = self.add_user(name)
        self._join(someone, organization_id, role)
        return someone

    def _join(self, someone: EnvUser, organization_id: UUID, role: str) -> None:
        with self.db.transaction() as tx:
            store.add_member(tx, organization_id, someone.id, role, self.clock.now())

    def by(self, someone: EnvUser, organization_id: UUID | None = None, **headers: str) -> list[tuple[str, str]]:
        """The metadata of a call by this user."""
        return self.identities.headers(someone.person, organization_id, **headers)

    def caller(self, someone: EnvUser, organization_id: UUID, key: ApiKey | None = None) -> Caller:
        """The caller that the interceptor would build for this user now."""
        access = self.access.access(someone.person, organization_id)
        held = permissions.limited(key.permissions, by=access.permissions) if key else access.permissions
        return Caller(someone.id, someone.person.session_id, organization_id, access.kind, held, key)

    def permissions(self, someone: EnvUser, organization_id: UUID) -> set[int]:
        return set(permissions.codes(self.access.access(someone.person, organization_id).permissions))

    def owner_of(self, organization_id: UUID) -> UUID:
        with self.db.transaction() as tx:
            tenant = store.lock(tx, organization_id)
        assert tenant
        return tenant.owner_id

    def last_token(self) -> str:
        """The token in the newest invitation's mail."""
        row = self.db.one(_LAST_LINK)
        assert row
        link = unused(self.db, row.id)
        assert link
        return self.links.token(link)

    def mails(self, email: str) -> Sequence[object]:
        return self.db.all(_MAILS, email=email)

    def notifications(self, someone: EnvUser) -> list[str]:
        """The kinds of the user's notifications, in order."""
        events = [Event.FromString(row.payload) for row in self.db.all(_EVENTS)]
        return [
            UserNotified.Kind.Name(event.user_notified.kind)
            for event in reversed(events)
            if event.user_notified.user_id == str(someone.id)
        ]

    def was_accepted(self, invitation_id: str) -> bool:
        row = self.db.one(_ACCEPTED, id=UUID(invitation_id))
        return bool(row and row.accepted_at)


class Stubs:
    """The three services."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.organizations = organizations_pb2_grpc.OrganizationServiceStub(channel)
        self.roles = roles_pb2_grpc.RoleServiceStub(channel)
        self.keys = api_keys_pb2_grpc.ApiKeyServiceStub(channel)


class Refusal:
    """An expected error; its reason and metadata are set when the block ends."""

    def __init__(self) -> None:
        self.info = ErrorInfo()
        self.wait_s = 0.0

    def __enter__(self) -> "Refusal":
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> bool:
        assert isinstance(error, grpc.RpcError), f"not refused: {error!r}"
        for detail in rpc_status.from_call(error).details:
            retry = RetryInfo()
            if not detail.Unpack(self.info) and detail.Unpack(retry):
                self.wait_s = retry.retry_delay.ToTimedelta().total_seconds()
        self.code = error.code()
        return True


@pytest.fixture
def refused() -> type[Refusal]:
    return Refusal


@pytest.fixture(scope="session")
def env_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator["EnvCache"]:
    """The environment is built by the first test and shared by all."""
    folder = tmp_path_factory.mktemp("token-keys")
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "20200101T000000Z.pem").write_bytes(key)
    made = EnvCache(folder)
    yield made
    made.stack.close()


class EnvCache:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.stack = ExitStack()
        self.built: tuple[Env, Stubs] | None = None

    def build(self, database_url: str, redis_url: str) -> tuple[Env, Stubs]:
        if self.built is None:
            env = Env(database_url, redis_url, self._folder)
            self.stack.callback(env.close)
            server = self.stack.enter_context(running(env.worker()))
            self.built = env, Stubs(self.stack.enter_context(stub_channel(server)))
        return self.built


@pytest.fixture
def env(env_cache: EnvCache, shared_database_url: str, redis_url: str) -> Env:
    env, _ = env_cache.build(shared_database_url, redis_url)
    env.clock.at = datetime.now(UTC)
    env.new_email = f"{uuid4().hex}@example.com"
    return env


@pytest.fixture
def stubs(env_cache: EnvCache, env: Env) -> Stubs:
    assert env_cache.built
    return env_cache.built[1]
