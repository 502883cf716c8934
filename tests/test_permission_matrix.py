"""Every RPC of the contract, called by every kind of caller: the contract's option decides who is admitted."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from itertools import chain
from pathlib import Path
from uuid import uuid4

import grpc
import httpx
import pytest
from adplatform.options.v1 import options_pb2
from adplatform.options.v1.options_pb2 import Auth, Permission
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adctl.keys import Keys
from adctl.ports import LOOPBACK
from adctl.state import State
from adgateway import contract
from adgateway.contract import Binding, Method
from adlib import identity

from .callers import (
    ADMITTED,
    CALLERS,
    FORBIDDEN,
    MEMBERS,
    NO_ORGANIZATION,
    NOT_VERIFIED,
    UNKNOWN,
    Headers,
    Key,
    Person,
    at_a_service,
    at_the_gateway,
    differences,
)
from .people import OWNER_OF_KIND, api_key, invited, owner, staff, unverified_owner, user_id
from .sessions import Sessions, claims

pytestmark = pytest.mark.xdist_group("platform")

_PATH = Path(str(files("adplatform") / "gateway.pb"))
_FILES = FileDescriptorSet.FromString(_PATH.read_bytes()).file
METHODS = contract.read(_PATH)
AUTH: dict[str, Auth] = {
    f"/{file.package}.{service.name}/{method.name}": method.options.Extensions[options_pb2.auth]
    for file in _FILES for service in file.service for method in service.method
}  # fmt: skip
RPCS = [pytest.param(method, id=method.grpc_path.strip("/")) for method in METHODS]
BINDINGS = [
    pytest.param(method, binding, id=f"{binding.verb} {binding.template}")
    for method in METHODS
    for binding in method.bindings
]
_VARIABLE = re.compile(r"\{[^{}]*\}")
# The HTTP status of each answer that an admitted caller's empty request can have.
_STATUS = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
}
# Answers of the gateway itself; no service received the request.
_NOT_SERVED = frozenset({"PATH_NOT_FOUND", "METHOD_NOT_ALLOWED", "REQUEST_TOO_LARGE", "RATE_LIMITED"})
_CODE = dict.fromkeys(UNKNOWN, 401) | dict.fromkeys(FORBIDDEN, 403) | {NO_ORGANIZATION: 400, NOT_VERIFIED: 400}


class PlatformCredentials:
    """The running platform's people, organizations, keys and tokens."""

    def __init__(self, state: State) -> None:
        self._keys = Keys(state.paths.keys)
        self._sessions = Sessions(state.database_url("auth-service"), self._keys)
        self._staff = staff(state)
        owners = {kind: owner(state, kind) for kind in OWNER_OF_KIND} | {"PLATFORM": self._staff}
        self._organizations = {kind: client.organization_id for kind, client in owners.items()}
        self._people: dict[tuple[str, str], str] = {}
        for kind, client in owners.items():
            own = OWNER_OF_KIND.get(kind, "admin")
            others = [member.role for member in MEMBERS if member.kind == kind and member.role != own]
            members = zip([own, *others], [client, *invited(state, client, others)], strict=True)
            self._people.update({(role, kind): user_id(member) for role, member in members})
        newcomer = unverified_owner(state)
        self._unverified = user_id(newcomer), newcomer.organization_id
        self._secrets: dict[tuple[object, ...], str] = {}
        self._forger = Ed25519PrivateKey.generate()
        self._kid = identity.jwt.get_unverified_header(self._staff.token)["kid"]

    def close(self) -> None:
        self._sessions.close()

    @property
    def customer_id(self) -> str:
        return self._organizations["ADVERTISER"]

    @property
    def staff_id(self) -> str:
        return self._organizations["PLATFORM"]

    def organization_id(self, kind: str) -> str:
        return self._organizations[kind]

    def session(self, role: str, kind: str, *, ended: bool = False, exp: int = 600) -> str:
        return self._sessions.token(self._people[role, kind], ended=ended, exp=exp)

    def unverified(self) -> tuple[str, str]:
        newcomer, organization_id = self._unverified
        return self._sessions.token(newcomer), organization_id

    def forged(self) -> str:
        return identity.sign(self._forger, self._kid, claims(self._people["owner", "ADVERTISER"], uuid4(), 600))

    def service_token(self, name: str, audience: str) -> str:
        return self._keys.service_token(name, audience)

    def api_key(self, permissions: frozenset[int], *, revoked: bool = False, networks: tuple[str, ...] = ()) -> str:
        kind = (permissions, revoked, networks)
        if kind not in self._secrets:
            made = api_key(self._staff, sorted(permissions), allowedCidrs=list(networks))
            if revoked:
                self._staff.request("DELETE", f"/api-keys/{made['id']}")
            self._secrets[kind] = made["secret"]
        return self._secrets[kind]


@pytest.fixture(scope="module")
def credentials(platform: State) -> Iterator[PlatformCredentials]:
    made = PlatformCredentials(platform)
    yield made
    made.close()


@pytest.fixture(scope="module")
def channels(platform: State) -> Iterator[dict[str, grpc.Channel]]:
    names = {method.service for method in METHODS}
    opened = {name: grpc.insecure_channel(f"{LOOPBACK}:{platform.ports[name]}") for name in names}
    yield opened
    for channel in opened.values():
        channel.close()


@pytest.fixture(scope="module")
def http(platform: State) -> Iterator[Callable[[str, str, Headers], httpx.Response]]:
    with httpx.Client(base_url=platform.gateway_url, timeout=30, trust_env=False) as client:
        yield lambda verb, path, headers: client.request(
            verb, path, headers=headers, **({} if verb in ("GET", "DELETE") else {"json": {}})
        )


@pytest.mark.parametrize("method", RPCS)
def test_service_admits_the_callers_that_the_contract_admits(
    credentials: PlatformCredentials, channels: dict[str, grpc.Channel], method: Method
) -> None:
    auth = AUTH[method.grpc_path]
    call = channels[method.service].unary_unary(method.grpc_path)
    calls = {
        caller.name: call.future(b"", metadata=list(caller.headers(credentials, method, auth).items()), timeout=30)
        for caller in CALLERS
    }
    seen = {name: outcome(*_of_call(answer)) for name, answer in calls.items()}
    expected = {caller.name: at_a_service(caller, auth) for caller in CALLERS}
    assert not (wrong := differences(expected, seen)), f"{method.grpc_path}:{wrong}"


@pytest.mark.parametrize(("method", "binding"), BINDINGS)
def test_gateway_admits_the_callers_that_the_contract_admits(
    credentials: PlatformCredentials,
    http: Callable[[str, str, Headers], httpx.Response],
    method: Method,
    binding: Binding,
) -> None:
    auth = AUTH[method.grpc_path]
    path = _VARIABLE.sub(str(uuid4()), binding.template)
    sent = [caller.headers(credentials, method, auth) for caller in CALLERS]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda headers: http(binding.verb, path, headers), sent))
    seen = {caller.name: outcome(*_of_response(answer)) for caller, answer in zip(CALLERS, answers, strict=True)}
    expected = {caller.name: at_the_gateway(caller, auth) for caller in CALLERS}
    assert not (wrong := differences(expected, seen)), f"{binding.verb} {path}:{wrong}"


def test_matrix_covers_both_outcomes_of_every_permission_and_rule() -> None:
    outcomes: dict[int, set[str]] = {}
    for method in METHODS:
        auth = AUTH[method.grpc_path]
        for permission in chain(auth.all, auth.any):
            outcomes.setdefault(permission, set()).update(
                at_a_service(caller, auth) for caller in CALLERS if isinstance(caller, Person | Key)
            )
    one_sided = {
        Permission.Name(code): seen for code, seen in outcomes.items()
        if not {ADMITTED, "PERMISSION_MISSING", "NOT_A_MEMBER"} <= seen
    }  # fmt: skip
    assert outcomes
    assert not one_sided
    assert NOT_VERIFIED in {at_a_service(caller, auth) for auth in AUTH.values() for caller in CALLERS}
    rules = {field.name for auth in AUTH.values() for field, _ in auth.ListFields()}
    assert rules == set(Auth.DESCRIPTOR.fields_by_name)
    for auth in AUTH.values():
        seen = {at_a_service(caller, auth) for caller in CALLERS}
        assert ADMITTED in seen
        assert auth.public or len(seen) > 3


def outcome(status: int, reason: str, message: str) -> str:
    """The reason of a refusal; ADMITTED if the service handled the call; otherwise the unexpected answer."""
    if reason in _CODE:
        return reason if status == _CODE[reason] else f"{status} {reason}"
    is_handled = status in _STATUS.values() and reason not in _NOT_SERVED
    return ADMITTED if is_handled else f"{status} {reason} {message}"


def _of_call(answer: grpc.Call) -> tuple[int, str, str]:
    status, info = rpc_status.from_call(answer), ErrorInfo()
    if status is not None:
        any(detail.Unpack(info) for detail in status.details)
    return _STATUS.get(answer.code(), 500), info.reason, f"{answer.code().name} {answer.details()}"


def _of_response(answer: httpx.Response) -> tuple[int, str, str]:
    details = answer.json()["details"] if answer.is_error else []
    reasons = [detail["reason"] for detail in details if "reason" in detail]
    return answer.status_code, "".join(reasons), answer.text[:200]
