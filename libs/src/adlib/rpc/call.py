"""The caller and the metadata of a call, for servicers."""

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
_MAX_USER_AGENT_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Caller:
    """A person, signed in or with an API key they created, who acts for an organization if the method needs one.

    `permissions` is a bitmask, `organization_kind` an `Organization.Kind`; a caller with an API key has no session.
    """

    user_id: UUID
    session_id: UUID = NO_SESSION
    organization_id: UUID = NO_ORGANIZATION
    organization_kind: int = Organization.KIND_UNSPECIFIED
    permissions: int = 0
    api_key: ApiKey | None = None

    @property
    def is_staff(self) -> bool:
        """Whether the caller acts for the platform's own organization."""
        return self.organization_kind == Organization.PLATFORM

    def has_permission(self, permission: int) -> bool:
        """Whether the caller has the permission with this code."""
        return permissions.satisfies(self.permissions, required_all=permissions.mask([permission]))


class Call:
    """The caller and the headers of one call.

    `answer_headers`, by lower-case names, are sent with an answer, but not with an error.
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
        # Whether the use case limits the rate of calls by unknown callers; the audit trail then records failed ones.
        self.is_rate_limited = False
        # Set by the interceptor `authorized` for public methods.
        self.identify: Callable[[], Caller | None] = lambda: None
        self._caller: Caller | None = None

    @staticmethod
    def headers_of(metadata: Sequence[tuple[str, str | bytes]]) -> Mapping[str, str | bytes]:
        """The headers by name; the values of a repeated header are joined by commas (RFC 9110)."""
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
        """The session that calls a public method, or None without an access token; TOKEN_INVALID.

        Gives no access to an organization: a public method must be safe without a session.
        """
        return self.identify()

    @property
    def caller(self) -> Caller:
        """The person who calls; only for methods that require one."""
        if self._caller is None:
            raise Internal
        return self._caller

    @caller.setter
    def caller(self, caller: Caller) -> None:
        self._caller = caller

    def header(self, name: str) -> str:
        """The value of a header by its lower-case name, or an empty string."""
        value = self.metadata.get(name, "")
        return value if isinstance(value, str) else value.decode("latin-1")

    @property
    def known_caller(self) -> Caller | None:
        """The person who calls, or None: for services, for public methods and before the caller is identified."""
        return self._caller

    def attribute_to(self, user_id: UUID, organization_id: UUID = NO_ORGANIZATION) -> None:
        """Sets the person and the organization in the audit log, if only the use case knows them; grants nothing."""
        self._caller = replace(self._caller or Caller(user_id), user_id=user_id, organization_id=organization_id)

    @property
    def address(self) -> str:
        """The client's IP address as seen by the gateway, or an empty string for calls from elsewhere."""
        try:
            return str(ip_address(self.header("x-forwarded-for")))
        except ValueError:
            return ""

    @property
    def user_agent(self) -> str:
        """The user-agent header, truncated."""
        return self.header("user-agent")[:_MAX_USER_AGENT_LENGTH]

    def idempotency(self, request: Message, render: Callable[[T], M], answer: type[M]) -> Idempotency[T, M]:
        """The idempotency of this call; `render` makes the answer from the use case's result."""
        key = self.header("idempotency-key")
        return Idempotency(self._owner_id, self.method, key, request, render, answer)

    def page(self, request: paging.ListRequest) -> paging.Page:
        """The page of a list that the request asks for; PAGE_TOKEN_INVALID."""
        return paging.page(request, self.method, self._owner_id)

    @property
    def _owner_id(self) -> UUID:
        """The owner of idempotency keys and lists: the organization, or the person who acts for none."""
        return self.caller.user_id if self.caller.organization_id == NO_ORGANIZATION else self.caller.organization_id
