"""What somebody may no longer do, every process refuses within a second, whatever happens to the shared cache."""

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

from .two_processes import TIMEOUT_S, Headers, Organization, World, asked

pytestmark = pytest.mark.xdist_group("revocation")

PROMISED_S = 1.0
# How long nobody may be let in again: longer than any cache in a process remembers.
AGAIN_S = 2.0
_LET_IN = frozenset({"OK"})


@dataclass(frozen=True)
class Case:
    """Somebody who may list campaigns, the change after which they may not, and the reason then."""

    headers: Headers
    change: Callable[[], object]
    reason: str


def another_role(organization: Organization) -> Case:
    member, role = organization.member("member"), organization.role(Permission.PAYMENTS_READ)
    return Case(organization.headers(member), lambda: organization.give(member, role), "PERMISSION_MISSING")


def less_in_the_role(organization: Organization) -> Case:
    role = organization.role(Permission.CAMPAIGNS_READ, Permission.PAYMENTS_READ)
    request = UpdateRoleRequest(code=role, name=f"Less {role}"[:100], permissions=[Permission.PAYMENTS_READ])
    update = RoleServiceStub(organization.world.auth).UpdateRole
    return Case(
        organization.headers(organization.member(role)),
        lambda: update(request, **organization.call(organization.owner)),
        "PERMISSION_MISSING",
    )


def no_member(organization: Organization) -> Case:
    member = organization.member("member")
    return Case(organization.headers(member), lambda: organization.remove(member), "NOT_A_MEMBER")


def signed_out(organization: Organization) -> Case:
    headers = organization.headers(organization.member("member"))
    log_out = AuthServiceStub(organization.world.auth).LogOut
    return Case(headers, lambda: log_out(LogOutRequest(), metadata=headers, timeout=TIMEOUT_S), "TOKEN_INVALID")


def revoked_key(organization: Organization) -> Case:
    key_id, headers = organization.api_key(organization.owner, Permission.CAMPAIGNS_READ)
    revoke, request = ApiKeyServiceStub(organization.world.auth).RevokeApiKey, RevokeApiKeyRequest(api_key_id=key_id)
    return Case(headers, lambda: revoke(request, **organization.call(organization.owner)), "API_KEY_INVALID")


def key_whose_maker_may_less(organization: Organization) -> Case:
    maker, role = organization.member("owner"), organization.role(Permission.PAYMENTS_READ)
    _, headers = organization.api_key(maker, Permission.CAMPAIGNS_READ)
    return Case(headers, lambda: organization.give(maker, role), "PERMISSION_MISSING")


def key_whose_maker_left(organization: Organization) -> Case:
    maker = organization.member("owner")
    _, headers = organization.api_key(maker, Permission.CAMPAIGNS_READ)
    return Case(headers, lambda: organization.remove(maker), "API_KEY_INVALID")


CASES = [
    another_role, less_in_the_role, no_member, signed_out, revoked_key, key_whose_maker_may_less, key_whose_maker_left
]  # fmt: skip


@dataclass
class Watch:
    """Somebody who calls one process over and over: when each call began, and what was answered."""

    channel: grpc.Channel
    headers: Headers
    seen: list[tuple[float, str]] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(0.002):
            began = time.monotonic()
            self.seen.append((began, asked(self.channel, self.headers)))

    def since(self, moment: float) -> set[str]:
        """The answers to all calls that began after the moment."""
        return {answer for began, answer in self.seen if began > moment}

    def let_in_s(self, moment: float) -> float:
        """How long after the moment the last call began that was let in."""
        return max((began - moment for began, answer in self.seen if answer == "OK"), default=0.0)


@contextmanager
def calling(*watches: Watch) -> Iterator[None]:
    """All of them call, all the time."""
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


def go_on(*watches: Watch, for_s: float = 0.0) -> None:
    """Waits so long, and until everybody has been answered who called after that."""
    moment = time.monotonic() + for_s
    for watch in watches:
        eventually(lambda watch=watch: watch.seen and watch.seen[-1][0] > moment, within_s=for_s + TIMEOUT_S)


class Subject:
    """The one of a case, who calls both processes all the time."""

    def __init__(self, organization: Organization, make: Callable[[Organization], Case]) -> None:
        self.name = make.__name__
        self.case = make(organization)
        self.watches = [Watch(process, self.case.headers) for process in organization.world.processes]
        self.changed = 0.0

    def change(self) -> None:
        """Makes the change, and notes when it was answered."""
        self.case.change()
        self.changed = time.monotonic()

    def assert_refused(self) -> None:
        """Let in until the change; refused within the promised time, for the right reason and for good."""
        took = [watch.let_in_s(self.changed) for watch in self.watches]
        print(f"{self.name}: let in for {', '.join(f'{one:.3f}' for one in took)} s after the change")
        assert max(took) < PROMISED_S, f"{self.name}: let in for {took} s after the change"
        for watch in self.watches:
            assert watch.since(self.changed + PROMISED_S) == {self.case.reason}
            assert watch.since(0) == {"OK", self.case.reason}


@contextmanager
def warm(organization: Organization, *subjects: Subject, then: frozenset[str] = _LET_IN) -> Iterator[list[Watch]]:
    """They and a member who is not touched call; both caches have them. `then`: all that the member is answered."""
    organization.forget_changes()
    member = organization.headers(organization.member("member"))
    others = [Watch(process, member) for process in organization.world.processes]
    watches = [*others, *(watch for subject in subjects for watch in subject.watches)]
    with calling(*watches):
        go_on(*watches)
        assert organization.shared == 1 + len(subjects)
        yield watches
    for watch in others:
        assert watch.since(0) == then


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, fresh_session_database: FreshDatabase) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path_factory.mktemp("revocation"), fresh_session_database, stack)


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_a_change_is_seen_by_every_process_within_a_second(world: World, make: Callable[[Organization], Case]) -> None:
    organization = world.organization()
    subject = Subject(organization, make)
    with warm(organization, subject) as watches:
        subject.change()
        go_on(*watches, for_s=AGAIN_S)
    subject.assert_refused()


def test_without_valkey_too_and_nobody_gets_in_again_when_it_is_back(world: World) -> None:
    organization = world.organization()
    subjects = [Subject(organization, make) for make in CASES]
    with warm(organization, *subjects) as watches:
        with world.without_valkey():
            # Long enough that no process remembers anybody.
            go_on(*watches, for_s=PROMISED_S)
            assert {answer for watch in watches for _, answer in watch.seen} == {"OK"}
            for subject in subjects:
                subject.change()
            go_on(*watches, for_s=PROMISED_S)
        # Its data is old: what everybody could do before is in it.
        assert organization.shared > len(subjects)
        go_on(*watches, for_s=AGAIN_S)
    for subject in subjects:
        subject.assert_refused()


def test_what_valkey_was_not_told_lets_nobody_in_while_auth_service_is_down(world: World) -> None:
    organization = world.organization()
    subject = Subject(organization, another_role)
    with warm(organization, subject, then=_LET_IN | {"UNAVAILABLE"}) as watches:
        with world.without_valkey():
            subject.change()
            world.stop_auth_service()
        assert organization.shared == 2
        go_on(*watches, for_s=PROMISED_S + AGAIN_S)
        world.start_auth_service()
        eventually(lambda: watches[0].seen[-1][1] == watches[1].seen[-1][1] == "OK", within_s=20)
        go_on(*watches)
    took = [watch.let_in_s(subject.changed) for watch in subject.watches]
    assert max(took) < PROMISED_S, f"let in for {took} s after the change"
    assert {watch.seen[-1][1] for watch in subject.watches} == {subject.case.reason}


def test_a_valkey_that_hangs_is_waited_for_but_lets_nobody_in_again(world: World) -> None:
    organization = world.organization()
    subject = Subject(organization, another_role)
    with warm(organization, subject) as watches:
        with world.hanging_valkey():
            subject.change()
        go_on(*watches, for_s=AGAIN_S)
    subject.assert_refused()


def test_without_valkey_and_auth_service_nobody_gets_in(world: World) -> None:
    organization = world.organization()
    member = organization.headers(organization.member("member"))
    watches = [Watch(process, member) for process in world.processes]
    with calling(*watches):
        go_on(*watches)
        with world.without_valkey(), world.without_auth_service():
            down = time.monotonic()
            go_on(*watches, for_s=PROMISED_S + AGAIN_S)
            for watch in watches:
                assert "OK" in watch.since(0)
                assert watch.since(down + PROMISED_S) == {"UNAVAILABLE"}
        eventually(lambda: {watch.seen[-1][1] for watch in watches} == {"OK"}, within_s=20)
