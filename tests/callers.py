"""Everybody who might call an RPC, and what the contract's option for it says will come of that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from adplatform.options.v1.options_pb2 import Auth, Permission

from adctl.keys import IDENTITIES
from adgateway.contract import Method
from adlib import api_key_format
from auth_service.roles.model import ROLES, held

LET_THROUGH = "let through"
# Who is not known is UNAUTHENTICATED; who is, but may not, is PERMISSION_DENIED.
UNKNOWN = frozenset({"TOKEN_MISSING", "TOKEN_INVALID", "API_KEY_INVALID"})
FORBIDDEN = frozenset(
    {"PERMISSION_MISSING", "NOT_A_MEMBER", "SERVICE_NOT_ALLOWED", "API_KEY_NOT_ALLOWED", "ADDRESS_NOT_ALLOWED"}
)
NO_ORGANIZATION = "ORGANIZATION_ID_REQUIRED"
NOT_VERIFIED = "EMAIL_NOT_VERIFIED"

ALL = frozenset(Permission.values()) - {Permission.PERMISSION_UNSPECIFIED, Permission.ADMIN_FULL}

Headers = dict[str, str]


class Sends(Enum):
    """What a caller proves itself with, as far as the gateway can tell."""

    NOTHING = "nothing"
    BAD_TOKEN = "bad token"
    ACCESS_TOKEN = "access token"
    SERVICE_TOKEN = "service token"
    API_KEY = "API key"


class World(Protocol):
    """What callers prove themselves with on a running platform."""

    @property
    def customer_id(self) -> str:
        """An advertiser."""
        ...

    @property
    def staff_id(self) -> str:
        """The platform's own organization, whose API keys these are."""
        ...

    def session(self, role: str, kind: str, *, ended: bool = False, exp: int = 600) -> str:
        """An access token of a session of its own, that expires in so many seconds."""
        ...

    def unverified(self) -> tuple[str, str]:
        """An access token of an advertiser's owner who has not verified their e-mail, and their organization."""
        ...

    def organization_id(self, kind: str) -> str:
        """The organization of this kind."""
        ...

    def forged(self) -> str:
        """A token as the platform's, signed with another key."""
        ...

    def service_token(self, name: str, audience: str) -> str:
        """A service's token for a service."""
        ...

    def api_key(self, permissions: frozenset[int], *, revoked: bool = False, networks: tuple[str, ...] = ()) -> str:
        """The secret of the platform's organization's key with these permissions."""
        ...


def bearer(token: str, organization_id: str = "") -> Headers:
    """The headers of a token."""
    headers = {"authorization": f"Bearer {token}"}
    return headers | {"organization-id": organization_id} if organization_id else headers


class Caller(Protocol):
    """Somebody who calls."""

    @property
    def name(self) -> str:
        """Who that is, for people."""
        ...

    @property
    def sends(self) -> Sends:
        """What the gateway sees."""
        ...

    def headers(self, world: World, method: Method, auth: Auth) -> Headers:
        """What is sent, with credentials of this call's own where it could destroy them."""
        ...

    def outcome(self, auth: Auth) -> str:
        """The reason of the refusal by a service that is not public, or LET_THROUGH."""
        ...


@dataclass(frozen=True)
class Stranger:
    """One who is never let in."""

    name: str
    sends: Sends
    reason: str
    proof: Callable[[World, str], Headers]
    """Made for the service that is called."""

    def headers(self, world: World, method: Method, auth: Auth) -> Headers:
        return self.proof(world, method.service)

    def outcome(self, auth: Auth) -> str:
        return self.reason


@dataclass(frozen=True)
class Person:
    """One who is signed in and has a role somewhere; `asks_for` is the kind of organization in the header, if any."""

    role: str
    kind: str
    asks_for: str
    ended: bool = False
    sends: Sends = Sends.ACCESS_TOKEN

    @property
    def name(self) -> str:
        where = f"for {self.asks_for}" if self.asks_for else "without an organization"
        return f"{self.role} of {self.kind} {where}{', signed out' if self.ended else ''}"

    @property
    def held(self) -> frozenset[int]:
        """What they hold in the organization they belong to."""
        return next(held(self.kind, role.permissions) for role in ROLES if role.code == self.role)

    def headers(self, world: World, method: Method, auth: Auth) -> Headers:
        token = world.session(self.role, self.kind, ended=self.ended)
        return bearer(token, world.organization_id(self.asks_for) if self.asks_for else "")

    def outcome(self, auth: Auth) -> str:
        if auth.services:
            return "SERVICE_NOT_ALLOWED"
        if auth.signed_in or auth.authenticated:
            return "TOKEN_INVALID" if self.ended else LET_THROUGH
        if not self.asks_for:
            return NO_ORGANIZATION
        if self.ended:
            return "TOKEN_INVALID"
        return permitted(auth, self.held) if self.asks_for == self.kind else "NOT_A_MEMBER"


@dataclass(frozen=True)
class Newcomer:
    """The owner of an advertiser, who has not verified their e-mail."""

    name: str = "owner whose e-mail is not verified"
    sends: Sends = Sends.ACCESS_TOKEN

    def headers(self, world: World, method: Method, auth: Auth) -> Headers:
        return bearer(*world.unverified())

    def outcome(self, auth: Auth) -> str:
        verified = Person("owner", "ADVERTISER", asks_for="ADVERTISER").outcome(auth)
        return NOT_VERIFIED if verified == LET_THROUGH and auth.verified_email else verified


@dataclass(frozen=True)
class Key:
    """A program with an API key of the platform's organization; `elsewhere`: that asks for another one."""

    name: str
    scopes: Callable[[Auth], frozenset[int]]
    elsewhere: bool = False
    sends: Sends = Sends.API_KEY

    def headers(self, world: World, method: Method, auth: Auth) -> Headers:
        own = {"x-api-key": world.api_key(self.scopes(auth))}
        return own | {"organization-id": world.customer_id} if self.elsewhere else own

    def outcome(self, auth: Auth) -> str:
        if auth.services:
            return "SERVICE_NOT_ALLOWED"
        if auth.signed_in:
            return "API_KEY_NOT_ALLOWED"
        if self.elsewhere:
            return "NOT_A_MEMBER"
        return LET_THROUGH if auth.authenticated else permitted(auth, self.scopes(auth))


@dataclass(frozen=True)
class Tool:
    """One of our own services, or a tool of ours."""

    name: str
    sends: Sends = Sends.SERVICE_TOKEN

    def headers(self, world: World, method: Method, auth: Auth) -> Headers:
        return bearer(world.service_token(self.name, method.service))

    def outcome(self, auth: Auth) -> str:
        return LET_THROUGH if self.name in auth.services else "SERVICE_NOT_ALLOWED"


def permitted(auth: Auth, held: frozenset[int]) -> str:
    """Whether a member who holds these meets the requirement."""
    enough = set(auth.all) <= held and (not auth.any or bool(held & set(auth.any)))
    return LET_THROUGH if enough or Permission.ADMIN_FULL in held else "PERMISSION_MISSING"


def needed(auth: Auth) -> frozenset[int]:
    """As little as meets the requirement; something, where there is none."""
    return frozenset(auth.all) or frozenset(auth.any[:1]) or frozenset({Permission.CAMPAIGNS_READ})


def all_but(auth: Auth) -> frozenset[int]:
    """Everything but what would meet the requirement."""
    return ALL - {*auth.all, *auth.any}


def at_a_service(caller: Caller, auth: Auth) -> str:
    """What a service answers."""
    return LET_THROUGH if auth.public else caller.outcome(auth)


def at_the_gateway(caller: Caller, auth: Auth) -> str:
    """What the gateway answers, or the service behind it: each route takes one kind of token, and people's API keys."""
    if auth.services and caller.sends is Sends.API_KEY:
        return "TOKEN_MISSING"
    wanted = Sends.SERVICE_TOKEN if auth.services else Sends.ACCESS_TOKEN
    other = {Sends.ACCESS_TOKEN, Sends.SERVICE_TOKEN} - {wanted}
    return "TOKEN_INVALID" if caller.sends in other and not auth.public else at_a_service(caller, auth)


def another(service: str) -> str:
    """Some other service than this one."""
    return "payment-service" if service == "auth-service" else "auth-service"


STRANGERS = (
    Stranger("nobody", Sends.NOTHING, "TOKEN_MISSING", lambda world, service: {}),
    Stranger(
        "an expired token", Sends.BAD_TOKEN, "TOKEN_INVALID",
        lambda world, service: bearer(world.session("owner", "ADVERTISER", exp=-60), world.customer_id),
    ),
    Stranger(
        "a forged token", Sends.BAD_TOKEN, "TOKEN_INVALID",
        lambda world, service: bearer(world.forged(), world.customer_id),
    ),
    Stranger(
        "a service's token for another service", Sends.BAD_TOKEN, "TOKEN_INVALID",
        lambda world, service: bearer(world.service_token("operator", another(service))),
    ),
    Stranger(
        "an unknown API key", Sends.API_KEY, "API_KEY_INVALID",
        lambda world, service: {"x-api-key": api_key_format.generate(), "organization-id": world.staff_id},
    ),
    Stranger(
        "a revoked API key", Sends.API_KEY, "API_KEY_INVALID",
        lambda world, service: {"x-api-key": world.api_key(ALL, revoked=True)},
    ),
    Stranger(
        "an API key of other networks", Sends.API_KEY, "ADDRESS_NOT_ALLOWED",
        lambda world, service: {"x-api-key": world.api_key(ALL, networks=("203.0.113.0/24",))},
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
    """One line for each caller for whom something else came out; empty where there is none."""
    wrong = [name for name in expected if expected[name] != seen[name]]
    return "".join(f"\n  {name}: expected {expected[name]}, was {seen[name]}" for name in wrong)
