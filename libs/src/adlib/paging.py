"""Pages of a list that is ordered by id, newest first. Tokens are opaque and stable under inserts.

A token is good only for what it was made for: the method, the organization and the filters. With another list's the
client would get an empty page and believe that there is no more. Whoever forges one sees no more than without.
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
_SCOPE_SIZE = 8

T = TypeVar("T")


class PageTokenInvalid(InvalidArgument):
    """The token was not made by this list, or for other filters or another organization."""

    reason = ErrorReason.PAGE_TOKEN_INVALID

    def __init__(self) -> None:
        super().__init__(
            "pageToken was not made by this list with these filters; leave it out to start from the newest"
        )


class ListRequest(Protocol):
    """A request for a page of a list; its other fields are the list's filters."""

    page_size: int
    page_token: str

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:  # noqa: N802 - protobuf's name
        """As every message's."""
        ...


@dataclass(frozen=True, slots=True)
class Page:
    """What part of a list is asked for: `size` rows with ids below `before`; tokens are only for its `scope`."""

    size: int
    before: UUID = _NEWEST
    scope: bytes = bytes(_SCOPE_SIZE)

    @property
    def limit(self) -> int:
        """Rows to read: one more than the page, which tells whether there is another."""
        return self.size + 1


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """A page's rows and the token of the next page, empty on the last."""

    rows: Sequence[T]
    next_page_token: str


def page(request: ListRequest, method: str, owner_id: UUID) -> Page:
    """The page that a request to the method asks for, of the list that this organization or person has.

    PAGE_TOKEN_INVALID.
    """
    size = min(request.page_size or DEFAULT_SIZE, MAX_SIZE)
    scope = _scope(request, method, owner_id)
    if not request.page_token:
        return Page(size, scope=scope)
    try:
        token = base64.b64decode(request.page_token, b"-_", validate=True)
        before = UUID(bytes=token[_SCOPE_SIZE:])
    except ValueError:
        raise PageTokenInvalid from None
    if token[:_SCOPE_SIZE] != scope:
        raise PageTokenInvalid
    return Page(size, before, scope)


def cut(rows: Sequence[T], page: Page, id_of: Callable[[T], UUID]) -> Slice[T]:
    """The page out of the `page.limit` rows that were read for it."""
    if len(rows) <= page.size:
        return Slice(rows, "")
    kept = rows[: page.size]
    return Slice(kept, base64.urlsafe_b64encode(page.scope + id_of(kept[-1]).bytes).decode())


def _scope(request: ListRequest, method: str, owner_id: UUID) -> bytes:
    """Tells lists apart: all that was asked for but the page."""
    asked = copy.deepcopy(request)
    asked.page_size, asked.page_token = 0, ""
    whole = owner_id.bytes + method.encode() + b"\0" + asked.SerializeToString(deterministic=True)
    return hashlib.sha256(whole).digest()[:_SCOPE_SIZE]
