"""Pagination of lists ordered by id, newest first, with opaque page tokens that are stable under inserts.

A token is valid only for the method, the organization and the filters it was issued for. With a token of another list
a client would get an empty page and conclude that the list has ended. A forged token gives no access to other rows.
"""

import base64
import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import InvalidArgument

DEFAULT_SIZE = 50
MAX_SIZE = 200

# Sorts after every UUIDv7.
_NEWEST = UUID(int=(1 << 128) - 1)
_SCOPE_BYTES = 8

T = TypeVar("T")


class PageTokenInvalid(InvalidArgument):
    """The token was issued by another list, or for other filters or another organization."""

    reason = ErrorReason.PAGE_TOKEN_INVALID

    def __init__(self) -> None:
        super().__init__(
            "pageToken was not issued by this list with these filters; leave it out to start from the newest"
        )


class ListRequest(Protocol):
    """A request for a page of a list; its other fields are the list's filters."""

    page_size: int
    page_token: str

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:  # noqa: N802 - protobuf's name
        """Serializes the message."""
        ...


@dataclass(frozen=True, slots=True)
class Page:
    """A requested page: `size` rows with ids below `before`; `scope` identifies the list in its tokens."""

    size: int
    before: UUID = _NEWEST
    scope: bytes = bytes(_SCOPE_BYTES)

    @property
    def limit(self) -> int:
        """The number of rows to read: one more than the page, to detect whether another page follows."""
        return self.size + 1


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """The rows of a page and the token of the next one, which is empty on the last page."""

    rows: Sequence[T]
    next_page_token: str


def page(request: ListRequest, method: str, owner_id: UUID) -> Page:
    """Parses the page that a request asks for; `owner_id` is the organization or person. PAGE_TOKEN_INVALID."""
    size = min(request.page_size or DEFAULT_SIZE, MAX_SIZE)
    scope = _scope(request, method, owner_id)
    if not request.page_token:
        return Page(size, scope=scope)
    try:
        token = base64.b64decode(request.page_token, b"-_", validate=True)
        before = UUID(bytes=token[_SCOPE_BYTES:])
    except ValueError:
        raise PageTokenInvalid from None
    if token[:_SCOPE_BYTES] != scope:
        raise PageTokenInvalid
    return Page(size, before, scope)


def cut(rows: Sequence[T], page: Page, id_of: Callable[[T], UUID]) -> Slice[T]:
    """Cuts the page out of the `page.limit` rows that were read for it."""
    if len(rows) <= page.size:
        return Slice(rows, "")
    rows = rows[: page.size]
    return Slice(rows, base64.urlsafe_b64encode(page.scope + id_of(rows[-1]).bytes).decode())


def _scope(request: ListRequest, method: str, owner_id: UUID) -> bytes:
    """A hash of the method, the owner and the filters, which identifies a list."""
    filters = copy.deepcopy(request)
    filters.page_size, filters.page_token = 0, ""
    identity = owner_id.bytes + method.encode() + b"\0" + filters.SerializeToString(deterministic=True)
    return hashlib.sha256(identity).digest()[:_SCOPE_BYTES]
