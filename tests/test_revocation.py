"""Revoked access is refused by every process within one second, also while Valkey or auth-service is down."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from adplatform.auth.v1.api_keys_pb2 import RevokeApiKeyRequest
from adplatform.auth.v1.api_keys_pb2_grpc import ApiKeyServiceStub
from adplatform.auth.v1.auth_pb2 import LogOutRequest
from adplatform.auth.v1.auth_pb2_grpc import AuthServiceStub
from adplatform.auth.v1.roles_pb2 import UpdateRoleRequest
from adplatform.auth.v1.roles_pb2_grpc import RoleServiceStub
from adplatform.options.v1.options_pb2 import Permission

from adtesting import eventually
from adtesting.pytest_servers import FreshDatabase

from .deployment import TIMEOUT_S, Deployment, Headers, Organization, list_campaigns

pytestmark = pytest.mark.xdist_group("revocation")

PROMISED_S = 1.0
# How long no one may be admitted again: longer than a process caches an answer.
REFUSED_FOR_S = 2.0
_ADMITTED = frozenset({"OK"})


@dataclass(frozen=True)
class Case:
    """A caller who may list campaigns, a change that ends it, and the reason of the refusal afterwards."""

    headers: Headers
    change: Callable[[], object]
    reason: str


def role_replaced(organization: Organization) -> Case:
    member, role = organization.member("member"), organization.role(Permission.PAYMENTS_READ)
    return Case(organization.headers(member), lambda: organization.assign_role(member, role), "PERMISSION_MISSING")


def permission_removed_from_role(organization: Organization) -> Case:
    role = organization.role(Permission.CAMPAIGNS_READ, Permission.PAYMENTS_READ)
    request = UpdateRoleRequest(code=role, name=f"Less {role}"[:100], permissions=[Permission.PAYMENTS_READ])
    update = RoleServiceStub(organization.deployment.auth).UpdateRole
    return Case(
        organization.headers(organization.member(role)),
        lambda: update(request, **organization.call(organization.owner)),
        "PERMISSION_MISSING",
    )


def membership_removed(organization: Organization) -> Case:
    member = organization.member("member")
    return Case(organization.headers(member), lambda: organization.remove(member), "NOT_A_MEMBER")


def signed_out(organization: Organization) -> Case:
    headers = organization.headers(organization.member("member"))
    log_out = AuthServiceStub(organization.deployment.auth).LogOut
    return Case(headers, lambda: log_out(LogOutRequest(), metadata=headers, timeout=TIMEOUT_S), "TOKEN_INVALID")


def api_key_revoked(organization: Organization) -> Case:
    key_id, headers = organization.api_key(organization.owner, Permission.CAMPAIGNS_READ)
    revoke, request = (
        ApiKeyServiceStub(organization.deployment.auth).RevokeApiKey,
        RevokeApiKeyRequest(api_key_id=key_id),
    )
    return Case(headers, lambda: revoke(request, **organization.call(organization.owner)), "API_KEY_INVALID")


def creator_of_key_loses_permission(organization: Organization) -> Case:
    maker, role = organization.member("owner"), organization.role(Permission.PAYMENTS_READ)
    _, headers = organization.api_key(maker, Permission.CAMPAIGNS_READ)
    return Case(headers, lambda: organization.assign_role(maker, role), "PERMISSION_MISSING")


def creator_of_key_removed(organization: Organization) -> Case:
    maker = organization.member("owner")
    _, headers = organization.api_key(maker, Permission.CAMPAIGNS_READ)
    return Case(headers, lambda: organization.remove(maker), "API_KEY_INVALID")


CASES = [
    role_replaced,
    permission_removed_from_role,
    membership_removed,
    signed_out,
    api_key_revoked,
    creator_of_key_loses_permission,
    creator_of_key_removed,
]


@dataclass
class Watch:
    """Calls one process repeatedly, and records when each call began and its answer."""

    channel: grpc.Channel
    headers: Headers
    seen: list[tuple[float, str]] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(0.002):
            began = time.monotonic()
            self.seen.append((began, list_campaigns(self.channel, self.headers)))

    def since(self, moment: float) -> set[str]:
        """The answers to all calls that began after the moment."""
        return {answer for began, answer in self.seen if began > moment}

    def admitted_for_s(self, moment: float) -> float:
        """Seconds from the moment to the start of the last call that was admitted."""
        return max((began - moment for began, answer in self.seen if answer == "OK"), default=0.0)


@contextmanager
def calling(*watches: Watch) -> Iterator[None]:
    """Runs the watches during the block."""
    stop = threading.Event()
    threads = [threading.Thread(target=watch.run, args=[stop]) for watch in watches]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def wait_for_answers(*watches: Watch, for_s: float = 0.0) -> None:
    """Waits this long, then until each watch has the answer of a call that began after that."""
    moment = time.monotonic() + for_s
    for watch in watches:
        eventually(lambda watch=watch: watch.seen and watch.seen[-1][0] > moment, within_s=for_s + TIMEOUT_S)


class Subject:
    """The caller of a case, watched in both processes."""

    def __init__(self, organization: Organization, make: Callable[[Organization], Case]) -> None:
        self.name = make.__name__
        self.case = make(organization)
        self.watches = [Watch(process, self.case.headers) for process in organization.deployment.processes]
        self.changed = 0.0

    def change(self) -> None:
        """Makes the change, and records when it was answered."""
        self.case.change()
        self.changed = time.monotonic()

    def assert_refused(self) -> None:
        """Checks that calls are admitted until the change, and refused with its reason after the promised time."""
        took = [watch.admitted_for_s(self.changed) for watch in self.watches]
        print(f"{self.name}: admitted for {', '.join(f'{one:.3f}' for one in took)} s after the change")
        assert max(took) < PROMISED_S, f"{self.name}: admitted for {took} s after the change"
        for watch in self.watches:
            assert watch.since(self.changed + PROMISED_S) == {self.case.reason}
            assert watch.since(0) == {"OK", self.case.reason}


@contextmanager
def warm(organization: Organization, *subjects: Subject, then: frozenset[str] = _ADMITTED) -> Iterator[list[Watch]]:
    """Runs the subjects and an unaffected member with both caches filled; `then` lists the member's allowed answers."""
    organization.expire_changes()
    member = organization.headers(organization.member("member"))
    others = [Watch(process, member) for process in organization.deployment.processes]
    watches = [*others, *(watch for subject in subjects for watch in subject.watches)]
    with calling(*watches):
        wait_for_answers(*watches)
        assert organization.cached_users == 1 + len(subjects)
        yield watches
    for watch in others:
        assert watch.since(0) == then


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, fresh_session_database: FreshDatabase) -> Iterator[Deployment]:
    with ExitStack() as stack:
        yield Deployment(tmp_path_factory.mktemp("revocation"), fresh_session_database, stack)


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_change_is_effective_in_every_process_within_one_second(
    deployment: Deployment, make: Callable[[Organization], Case]
) -> None:
    organization = deployment.organization()
    subject = Subject(organization, make)
    with warm(organization, subject) as watches:
        subject.change()
        wait_for_answers(*watches, for_s=REFUSED_FOR_S)
    subject.assert_refused()


def test_change_without_valkey_is_effective_and_stays_so_when_valkey_returns(deployment: Deployment) -> None:
    organization = deployment.organization()
    subjects = [Subject(organization, make) for make in CASES]
    with warm(organization, *subjects) as watches:
        with deployment.without_valkey():
            # Long enough for the answers cached in the processes to expire.
            wait_for_answers(*watches, for_s=PROMISED_S)
            assert {answer for watch in watches for _, answer in watch.seen} == {"OK"}
            for subject in subjects:
                subject.change()
            wait_for_answers(*watches, for_s=PROMISED_S)
        # Its data is older than the changes.
        assert organization.cached_users > len(subjects)
        wait_for_answers(*watches, for_s=REFUSED_FOR_S)
    for subject in subjects:
        subject.assert_refused()


def test_change_missed_by_valkey_admits_no_one_while_auth_service_is_down(deployment: Deployment) -> None:
    organization = deployment.organization()
    subject = Subject(organization, role_replaced)
    with warm(organization, subject, then=_ADMITTED | {"UNAVAILABLE"}) as watches:
        with deployment.without_valkey():
            subject.change()
            deployment.stop_auth_service()
        assert organization.cached_users == 2
        wait_for_answers(*watches, for_s=PROMISED_S + REFUSED_FOR_S)
        deployment.start_auth_service()
        eventually(lambda: watches[0].seen[-1][1] == watches[1].seen[-1][1] == "OK", within_s=20)
        wait_for_answers(*watches)
    took = [watch.admitted_for_s(subject.changed) for watch in subject.watches]
    assert max(took) < PROMISED_S, f"admitted for {took} s after the change"
    assert {watch.seen[-1][1] for watch in subject.watches} == {subject.case.reason}


def test_change_during_a_valkey_freeze_is_effective_when_it_resumes(deployment: Deployment) -> None:
    organization = deployment.organization()
    subject = Subject(organization, role_replaced)
    with warm(organization, subject) as watches:
        with deployment.frozen_valkey():
            subject.change()
        wait_for_answers(*watches, for_s=REFUSED_FOR_S)
    subject.assert_refused()


def test_no_one_is_admitted_without_valkey_and_auth_service(deployment: Deployment) -> None:
    organization = deployment.organization()
    member = organization.headers(organization.member("member"))
    watches = [Watch(process, member) for process in deployment.processes]
    with calling(*watches):
        wait_for_answers(*watches)
        with deployment.without_valkey(), deployment.without_auth_service():
            down = time.monotonic()
            wait_for_answers(*watches, for_s=PROMISED_S + REFUSED_FOR_S)
            for watch in watches:
                assert "OK" in watch.since(0)
                assert watch.since(down + PROMISED_S) == {"UNAVAILABLE"}
        eventually(lambda: {watch.seen[-1][1] for watch in watches} == {"OK"}, within_s=20)
