"""One call, as a servicer sees it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TypeVar
from uuid import UUID

from adplatform.auth.v1.auth_pb2 import Organization
from google.protobuf.message import Message

from adlib import paging, permissions
from adlib.errors import Internal
from adlib.idempotency import Idempotency
from adlib.identity import NO_SESSION, ApiKey

T = TypeVar("T")
M = TypeVar("M", bound=Message)

NO_ORGANIZATION = UUID(int=0)
_USER_AGENT_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Caller:
    """A person, signed in or by an API key of theirs, acting for an organization where the method needs one.

    `permissions` is a bitmask; `organization_kind` is `Organization.Kind`; one who calls by an API key has no session.
    """

    user_id: UUID
    session_id: UUID = NO_SESSION
    organization_id: UUID = NO_ORGANIZATION
    organization_kind: int = Organization.KIND_UNSPECIFIED
    permissions: int = 0
    api_key: ApiKey | None = None

    @property
    def is_staff(self) -> bool:
        """Whether they act for the platform's own organization."""
        return self.organization_kind == Organization.PLATFORM

    def has_permission(self, permission: int) -> bool:
        """Whether they hold the permission with this code."""
        return permissions.satisfies(self.permissions, required_all=permissions.mask([permission]))


class Call:
    """The caller and the headers of one call.

    `answer_headers`, by lower-case names, go before the answer, and not before an error.
    """

    __slots__ = (
        "_caller",
        "answer_headers",
        "identify",
        "is_rate_limited",
        "metadata",
        "method",
        "request_id",
        "service",
    )

    def __init__(self, method: str, metadata: Mapping[str, str | bytes], request_id: str) -> None:
        self.method = method
        self.metadata = metadata
        self.request_id = request_id
        self.answer_headers: dict[str, str] = {}
        self.service = ""
        # Whether strangers can make only so many such calls: those that fail are recorded too then.
        self.is_rate_limited = False
        # Set by the server for methods that are public.
        self.identify: Callable[[], Caller | None] = lambda: None
        self._caller: Caller | None = None

    @staticmethod
    def headers_of(metadata: Sequence[tuple[str, str | bytes]]) -> Mapping[str, str | bytes]:
        """The headers by name; values of a repeated one are joined by commas, as HTTP has it, so that none is lost."""
        headers = dict(metadata)
        if len(headers) != len(metadata):
            for name in headers:
                values = [
                    value if isinstance(value, str) else value.decode("latin-1")
                    for key, value in metadata
                    if key == name
                ]
                headers[name] = ",".join(values)
        return headers

    def session(self) -> Caller | None:
        """Whose session calls a public method; None without an access token, TOKEN_INVALID with one that is not valid.

        Only for methods that are safe without: they get to know a session, and nothing of an organization.
        """
        return self.identify()

    @property
    def caller(self) -> Caller:
        """Who calls; only for methods that need a person."""
        if self._caller is None:
            raise Internal
        return self._caller

    @caller.setter
    def caller(self, caller: Caller) -> None:
        self._caller = caller

    def header(self, name: str) -> str:
        """A header by its lower-case name; empty where it was not sent."""
        value = self.metadata.get(name, "")
        return value if isinstance(value, str) else value.decode("latin-1")

    @property
    def known_caller(self) -> Caller | None:
        """Who calls, as far as that is known yet; None for services and where nobody has to be known."""
        return self._caller

    def attribute_to(self, user_id: UUID, organization_id: UUID = NO_ORGANIZATION) -> None:
        """Who called and for whom, where only the use case could tell: for the audit log, not for permissions."""
        self._caller = replace(self._caller or Caller(user_id), user_id=user_id, organization_id=organization_id)

    @property
    def address(self) -> str:
        """The client's address as the gateway saw it; empty where the call did not come through it."""
        try:
            return str(ip_address(self.header("x-forwarded-for")))
        except ValueError:
            return ""

    @property
    def user_agent(self) -> str:
        """What the client's browser or program calls itself."""
        return self.header("user-agent")[:_USER_AGENT_LENGTH]

    def idempotency(self, request: Message, render: Callable[[T], M], answer: type[M]) -> Idempotency[T, M]:
        """The idempotency of this call: a repeat gets the first answer."""
        key = self.header("idempotency-key")
        return Idempotency(self._owner_id, self.method, key, request, render, answer)

    def page(self, request: paging.ListRequest) -> paging.Page:
        """The page of a list that is asked for; PAGE_TOKEN_INVALID where the token is of another list."""
        return paging.page(request, self.method, self._owner_id)

    @property
    def _owner_id(self) -> UUID:
        """Whose idempotency keys and lists these are: those of one who acts for no organization are their own."""
        return self.caller.user_id if self.caller.organization_id == NO_ORGANIZATION else self.caller.organization_id
