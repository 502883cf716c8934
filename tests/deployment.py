"""auth-service, two processes of campaign-service, and a Valkey that the test can stop."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import psycopg
import redis
from adplatform.auth.v1.api_keys_pb2 import CreateApiKeyRequest
from adplatform.auth.v1.api_keys_pb2_grpc import ApiKeyServiceStub
from adplatform.auth.v1.organizations_pb2 import RemoveUserRequest, UpdateUserRequest
from adplatform.auth.v1.organizations_pb2_grpc import OrganizationServiceStub
from adplatform.auth.v1.roles_pb2 import CreateRoleRequest
from adplatform.auth.v1.roles_pb2_grpc import RoleServiceStub
from adplatform.options.v1.options_pb2 import Permission
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adctl.embedded.valkey import ValkeyServer
from adctl.keys import Keys
from adctl.platform.environment import inherited, service_environment
from adctl.ports import LOOPBACK, free_port
from adctl.state import State, prepare
from adctl.supervision import children, probes
from adlib.access import EVERYTHING_CHANGED, organization_changed
from adtesting import eventually
from adtesting.pytest_servers import FreshDatabase

from .sessions import Sessions

TIMEOUT_S = 30
Headers = list[tuple[str, str]]


def list_campaigns(channel: grpc.Channel, headers: Headers) -> str:
    """Lists campaigns, which requires CAMPAIGNS_READ; OK, or the reason of the refusal."""
    listing = channel.unary_unary("/adplatform.campaign.v1.CampaignService/ListCampaigns")
    try:
        listing(b"", metadata=headers, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        status, info = rpc_status.from_call(error), ErrorInfo()
        return info.reason if status and any(detail.Unpack(info) for detail in status.details) else error.code().name
    return "OK"


class Deployment:
    """The running processes and their databases."""

    def __init__(self, folder: Path, databases: FreshDatabase, stack: ExitStack) -> None:
        self._state: State = prepare(folder / "home", free_port())
        self._keys = Keys(self._state.paths.keys)
        self._keys.make()
        self._logs = folder
        self._database_urls = {name: databases(f"revocation_{name}") for name in ("auth", "campaign")}
        port, password = self._state.ports["valkey"], self._state.secrets["valkey"]
        self.valkey = ValkeyServer(folder / "valkey", port=port, password=password)
        stack.callback(self.valkey.stop)
        self.valkey.start()
        self.shared = redis.Redis.from_url(self._state.redis_url(), socket_timeout=5)
        ports = [free_port(), free_port()]
        self.campaign_ports = ports
        self._stack = stack
        self._auth_service = self._start("auth")
        self._start("campaign")
        for port in (self._state.ports["auth-service"], *ports):
            eventually(lambda port=port: probes.grpc_serving(port), within_s=60)
        self.auth = self._channel(self._state.ports["auth-service"])
        self.processes = [self._channel(port) for port in ports]
        self.sessions = Sessions(self._database_urls["auth"], self._keys)
        stack.callback(self.sessions.close)
        self._db = stack.enter_context(psycopg.connect(self._database_urls["auth"], autocommit=True))

    def organization(self) -> "Organization":
        """A new advertiser, which is in no cache."""
        owner, organization_id = self.user(), uuid4()
        self._db.execute(
            "INSERT INTO organizations VALUES (%s, 'Acme', 'ADVERTISER', %s, now(), now())", [organization_id, owner]
        )
        self.join(owner, organization_id, "owner")
        return Organization(self, organization_id, owner)

    def user(self) -> UUID:
        user_id = uuid4()
        self._db.execute(
            "INSERT INTO users (id, email, name, email_verified_at, created_at, updated_at) "
            "VALUES (%s, %s, 'Ada', now(), now(), now())",
            [user_id, f"{user_id}@example.com"],
        )
        return user_id

    def join(self, user_id: UUID, organization_id: UUID, role: str) -> None:
        self._db.execute("INSERT INTO user_roles VALUES (%s, %s, %s, now())", [user_id, organization_id, role])

    @contextmanager
    def without_valkey(self) -> Iterator[None]:
        """Kills Valkey, and starts it again with its data at the end."""
        self.valkey.kill()
        try:
            yield
        finally:
            self.valkey.start()

    @contextmanager
    def frozen_valkey(self) -> Iterator[None]:
        """Valkey accepts connections and does not answer."""
        assert self.valkey.pid is not None
        os.kill(self.valkey.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.valkey.pid, signal.SIGCONT)

    @contextmanager
    def without_auth_service(self) -> Iterator[None]:
        """Stops auth-service, and starts it again at the end."""
        self.stop_auth_service()
        try:
            yield
        finally:
            self.start_auth_service()

    def stop_auth_service(self) -> None:
        children.stop(self._auth_service)

    def start_auth_service(self) -> None:
        self._auth_service = self._start("auth")
        eventually(lambda: probes.grpc_serving(self._state.ports["auth-service"]), within_s=60)
        # No cache has a new organization, so its call shows that the process reaches auth-service.
        for process in self.processes:
            stranger = self.organization()
            headers = stranger.headers(stranger.owner)
            eventually(lambda process=process, headers=headers: list_campaigns(process, headers) == "OK", within_s=20)

    def _start(self, service: str) -> "subprocess.Popen[bytes]":
        name = f"{service}-service"
        environment = inherited(os.environ, self._state) | service_environment(self._state, self._keys, name)
        environment["DATABASE_URL"] = self._database_urls[service]
        if service == "campaign":
            environment["GRPC_PORTS"] = ",".join(str(port) for port in self.campaign_ports)
        command = [sys.executable, "-m", name.replace("-", "_"), "migrate", "serve"]
        with (self._logs / f"{service}.log").open("ab") as log:
            running = children.spawn(command, environment=environment, log=log)
        self._stack.callback(children.stop, running)
        return running

    def _channel(self, port: int) -> grpc.Channel:
        options = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 50)]
        return self._stack.enter_context(grpc.insecure_channel(f"{LOOPBACK}:{port}", options=options))


@dataclass(frozen=True)
class Organization:
    """One organization, and actions of its owner."""

    deployment: Deployment
    id: UUID
    owner: UUID

    def headers(self, user_id: UUID) -> Headers:
        """The headers of a new session of this user for this organization."""
        return [
            ("authorization", f"Bearer {self.deployment.sessions.token(user_id)}"),
            ("organization-id", str(self.id)),
        ]

    def member(self, role: str) -> UUID:
        """A new user with this role."""
        user_id = self.deployment.user()
        self.deployment.join(user_id, self.id, role)
        return user_id

    def role(self, *permissions: Permission.ValueType) -> str:
        """A new custom role."""
        request = CreateRoleRequest(name=f"Role {uuid4()}", permissions=permissions)
        return RoleServiceStub(self.deployment.auth).CreateRole(request, **self.call(self.owner)).code

    def api_key(self, maker: UUID, *permissions: Permission.ValueType) -> tuple[str, Headers]:
        """A new API key's id, and the headers of a call with it."""
        request = CreateApiKeyRequest(name="A program's", permissions=permissions)
        made = ApiKeyServiceStub(self.deployment.auth).CreateApiKey(request, **self.call(maker))
        return made.api_key.id, [("x-api-key", made.secret)]

    def assign_role(self, user_id: UUID, role: str) -> None:
        request = UpdateUserRequest(user_id=str(user_id), role=role)
        OrganizationServiceStub(self.deployment.auth).UpdateUser(request, **self.call(self.owner))

    def remove(self, user_id: UUID) -> None:
        request = RemoveUserRequest(user_id=str(user_id))
        OrganizationServiceStub(self.deployment.auth).RemoveUser(request, **self.call(self.owner))

    def call(self, user_id: UUID) -> dict[str, Any]:
        """The options of a call by this user."""
        return {"metadata": self.headers(user_id), "timeout": TIMEOUT_S}

    def expire_changes(self) -> None:
        """Deletes the invalidations and cached answers of this organization, as their expiry would."""
        invalidations = [invalidation.key for invalidation in (EVERYTHING_CHANGED, organization_changed(self.id))]
        self.deployment.shared.delete(*invalidations, *self._cached_answers())

    @property
    def cached_users(self) -> int:
        """The number of users of this organization in the shared cache."""
        return len(self._cached_answers())

    def _cached_answers(self) -> list[bytes]:
        return list(self.deployment.shared.scan_iter(f"permissions:*:{self.id}"))
