"""Every kind of caller of an RPC, and the outcome that the contract's option prescribes for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from adplatform.options.v1.options_pb2 import Auth, Permission

from adctl.keys import IDENTITIES
from adgateway.contract import Method
from adlib import api_key_format
from auth_service.authorization.model import ROLES, effective

ADMITTED = "admitted"
# An unknown caller is UNAUTHENTICATED; a known one without the right is PERMISSION_DENIED.
UNKNOWN = frozenset({"TOKEN_MISSING", "TOKEN_INVALID", "API_KEY_INVALID"})
FORBIDDEN = frozenset(
    {"PERMISSION_MISSING", "NOT_A_MEMBER", "SERVICE_NOT_ALLOWED", "API_KEY_NOT_ALLOWED", "ADDRESS_NOT_ALLOWED"}
)
NO_ORGANIZATION = "ORGANIZATION_ID_REQUIRED"
NOT_VERIFIED = "EMAIL_NOT_VERIFIED"

ALL = frozenset(Permission.values()) - {Permission.PERMISSION_UNSPECIFIED, Permission.ADMIN_FULL}

Headers = dict[str, str]


class CredentialKind(Enum):
    """The kind of credential, as the gateway distinguishes them."""

    NOTHING = "nothing"
    BAD_TOKEN = "bad token"
    ACCESS_TOKEN = "access token"
    SERVICE_TOKEN = "service token"
    API_KEY = "API key"


class Credentials(Protocol):
    """The credentials of a running platform's callers."""

    @property
    def customer_id(self) -> str:
        """An advertiser's organization."""
        ...

    @property
    def staff_id(self) -> str:
        """The PLATFORM organization, which owns the API keys."""
        ...

    def session(self, role: str, kind: str, *, ended: bool = False, exp: int = 600) -> str:
        """An access token of a new session; it expires in `exp` seconds."""
        ...

    def unverified(self) -> tuple[str, str]:
        """An access token of an advertiser's owner who has not verified their e-mail, and their organization."""
        ...

    def organization_id(self, kind: str) -> str:
        """The organization of this kind."""
        ...

    def forged(self) -> str:
        """A token with valid claims, signed with another key."""
        ...

    def service_token(self, name: str, audience: str) -> str:
        """A service's token for a service."""
        ...

    def api_key(self, permissions: frozenset[int], *, revoked: bool = False, networks: tuple[str, ...] = ()) -> str:
        """The secret of an API key of the PLATFORM organization with these permissions."""
        ...


def bearer(token: str, organization_id: str = "") -> Headers:
    """The headers of a token."""
    headers = {"authorization": f"Bearer {token}"}
    return headers | {"organization-id": organization_id} if organization_id else headers


class Caller(Protocol):
    """One kind of caller."""

    @property
    def name(self) -> str:
        """The caller's name in a failure message."""
        ...

    @property
    def credential(self) -> CredentialKind:
        """The kind of credential in the request."""
        ...

    def headers(self, credentials: Credentials, method: Method, auth: Auth) -> Headers:
        """The headers of a call; with credentials of its own if the call could revoke them."""
        ...

    def outcome(self, auth: Auth) -> str:
        """The reason of a refusal by a method that is not public, or ADMITTED."""
        ...


@dataclass(frozen=True)
class Stranger:
    """A caller who is always refused."""

    name: str
    credential: CredentialKind
    reason: str
    proof: Callable[[Credentials, str], Headers]
    """Made for the service that is called."""

    def headers(self, credentials: Credentials, method: Method, auth: Auth) -> Headers:
        return self.proof(credentials, method.service)

    def outcome(self, auth: Auth) -> str:
        return self.reason


@dataclass(frozen=True)
class Person:
    """A signed-in user with one role; `asks_for` is the kind of organization in the header, if any."""

    role: str
    kind: str
    asks_for: str
    ended: bool = False
    credential: CredentialKind = CredentialKind.ACCESS_TOKEN

    @property
    def name(self) -> str:
        where = f"for {self.asks_for}" if self.asks_for else "without an organization"
        return f"{self.role} of {self.kind} {where}{', signed out' if self.ended else ''}"

    @property
    def held(self) -> frozenset[int]:
        """The user's permissions in their own organization."""
        return next(effective(self.kind, role.permissions) for role in ROLES if role.code == self.role)

    def headers(self, credentials: Credentials, method: Method, auth: Auth) -> Headers:
        token = credentials.session(self.role, self.kind, ended=self.ended)
        return bearer(token, credentials.organization_id(self.asks_for) if self.asks_for else "")

    def outcome(self, auth: Auth) -> str:
        if auth.services:
            return "SERVICE_NOT_ALLOWED"
        if auth.signed_in or auth.authenticated:
            return "TOKEN_INVALID" if self.ended else ADMITTED
        if not self.asks_for:
            return NO_ORGANIZATION
        if self.ended:
            return "TOKEN_INVALID"
        return permitted(auth, self.held) if self.asks_for == self.kind else "NOT_A_MEMBER"


@dataclass(frozen=True)
class Newcomer:
    """An advertiser's owner whose e-mail is not verified."""

    name: str = "owner whose e-mail is not verified"
    credential: CredentialKind = CredentialKind.ACCESS_TOKEN

    def headers(self, credentials: Credentials, method: Method, auth: Auth) -> Headers:
        return bearer(*credentials.unverified())

    def outcome(self, auth: Auth) -> str:
        verified = Person("owner", "ADVERTISER", asks_for="ADVERTISER").outcome(auth)
        return NOT_VERIFIED if verified == ADMITTED and auth.verified_email else verified


@dataclass(frozen=True)
class Key:
    """A program with an API key of the PLATFORM organization; `elsewhere`: it names another organization."""

    name: str
    scopes: Callable[[Auth], frozenset[int]]
    elsewhere: bool = False
    credential: CredentialKind = CredentialKind.API_KEY

    def headers(self, credentials: Credentials, method: Method, auth: Auth) -> Headers:
        own = {"x-api-key": credentials.api_key(self.scopes(auth))}
        return own | {"organization-id": credentials.customer_id} if self.elsewhere else own

    def outcome(self, auth: Auth) -> str:
        if auth.services:
            return "SERVICE_NOT_ALLOWED"
        if auth.signed_in:
            return "API_KEY_NOT_ALLOWED"
        if self.elsewhere:
            return "NOT_A_MEMBER"
        return ADMITTED if auth.authenticated else permitted(auth, self.scopes(auth))


@dataclass(frozen=True)
class Tool:
    """A service, or a tool with a service identity."""

    name: str
    credential: CredentialKind = CredentialKind.SERVICE_TOKEN

    def headers(self, credentials: Credentials, method: Method, auth: Auth) -> Headers:
        return bearer(credentials.service_token(self.name, method.service))

    def outcome(self, auth: Auth) -> str:
        return ADMITTED if self.name in auth.services else "SERVICE_NOT_ALLOWED"


def permitted(auth: Auth, held: frozenset[int]) -> str:
    """The outcome for a member with these permissions."""
    enough = set(auth.all) <= held and (not auth.any or bool(held & set(auth.any)))
    return ADMITTED if enough or Permission.ADMIN_FULL in held else "PERMISSION_MISSING"


def needed(auth: Auth) -> frozenset[int]:
    """The fewest permissions that meet the requirement; never none."""
    return frozenset(auth.all) or frozenset(auth.any[:1]) or frozenset({Permission.CAMPAIGNS_READ})


def all_but(auth: Auth) -> frozenset[int]:
    """Every permission that does not contribute to the requirement."""
    return ALL - {*auth.all, *auth.any}


def at_a_service(caller: Caller, auth: Auth) -> str:
    """The outcome of a call to the service."""
    return ADMITTED if auth.public else caller.outcome(auth)


def at_the_gateway(caller: Caller, auth: Auth) -> str:
    """The outcome of a call through the gateway: a route accepts one kind of token, and API keys unless it is a job."""
    if auth.services and caller.credential is CredentialKind.API_KEY:
        return "TOKEN_MISSING"
    wanted = CredentialKind.SERVICE_TOKEN if auth.services else CredentialKind.ACCESS_TOKEN
    other = {CredentialKind.ACCESS_TOKEN, CredentialKind.SERVICE_TOKEN} - {wanted}
    return "TOKEN_INVALID" if caller.credential in other and not auth.public else at_a_service(caller, auth)


def another(service: str) -> str:
    """A service other than this one."""
    return "payment-service" if service == "auth-service" else "auth-service"


STRANGERS = (
    Stranger("an anonymous caller", CredentialKind.NOTHING, "TOKEN_MISSING", lambda credentials, service: {}),
    Stranger(
        "an expired token", CredentialKind.BAD_TOKEN, "TOKEN_INVALID",
        lambda credentials, service: bearer(
            credentials.session("owner", "ADVERTISER", exp=-60), credentials.customer_id
        ),
    ),
    Stranger(
        "a forged token", CredentialKind.BAD_TOKEN, "TOKEN_INVALID",
        lambda credentials, service: bearer(credentials.forged(), credentials.customer_id),
    ),
    Stranger(
        "a service's token for another service", CredentialKind.BAD_TOKEN, "TOKEN_INVALID",
        lambda credentials, service: bearer(credentials.service_token("operator", another(service))),
    ),
    Stranger(
        "an unknown API key", CredentialKind.API_KEY, "API_KEY_INVALID",
        lambda credentials, service: {"x-api-key": api_key_format.generate(), "organization-id": credentials.staff_id},
    ),
    Stranger(
        "a revoked API key", CredentialKind.API_KEY, "API_KEY_INVALID",
        lambda credentials, service: {"x-api-key": credentials.api_key(ALL, revoked=True)},
    ),
    Stranger(
        "an API key of other networks", CredentialKind.API_KEY, "ADDRESS_NOT_ALLOWED",
        lambda credentials, service: {"x-api-key": credentials.api_key(ALL, networks=("203.0.113.0/24",))},
    ),
)  # fmt: skip
MEMBERS = tuple(Person(role.code, kind, asks_for=kind) for role in ROLES for kind in sorted(role.kinds))
PEOPLE = (
    *MEMBERS,
    Person("owner", "ADVERTISER", asks_for="PUBLISHER"),
    Person("publisher", "PUBLISHER", asks_for="PLATFORM"),
    Person("admin", "PLATFORM", asks_for="ADVERTISER"),
    Person("owner", "ADVERTISER", asks_for=""),
    Person("admin", "PLATFORM", asks_for="PLATFORM", ended=True),
)
KEYS = (
    Key("an API key with what is needed", needed),
    Key("an API key with everything else", all_but),
    Key("an API key for another organization", needed, elsewhere=True),
)
CALLERS: tuple[Caller, ...] = (*STRANGERS, *PEOPLE, Newcomer(), *KEYS, *(Tool(name) for name in IDENTITIES))


def differences(expected: Mapping[str, str], seen: Mapping[str, str]) -> str:
    """One line for each caller with another outcome; empty if there is none."""
    wrong = [name for name in expected if expected[name] != seen[name]]
    return "".join(f"\n  {name}: expected {expected[name]}, was {seen[name]}" for name in wrong)
