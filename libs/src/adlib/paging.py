"""Pages of a list that is ordered by id, newest first. Tokens are opaque and stable under inserts."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import InvalidArgument

DEFAULT_SIZE = 50
MAX_SIZE = 200

# Sorts after every UUIDv7, so it stands for "from the newest".
_FIRST = UUID(int=(1 << 128) - 1)

T = TypeVar("T")


class PageTokenInvalid(InvalidArgument):
    """The token was not made by this list."""

    reason = ErrorReason.PAGE_TOKEN_INVALID

    def __init__(self) -> None:
        super().__init__("pageToken was not made by this list; leave it out to start from the newest")


@dataclass(frozen=True, slots=True)
class Page:
    """What part of a list is asked for: `size` rows with ids below `before`."""

    size: int
    before: UUID

    @property
    def limit(self) -> int:
        """Rows to read: one more than the page, which tells whether there is another."""
        return self.size + 1


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """A page's rows and the token of the next page, empty on the last."""

    rows: Sequence[T]
    next_page_token: str


def page(size: int, token: str) -> Page:
    """The page that a request asks for; PAGE_TOKEN_INVALID."""
    size = min(size or DEFAULT_SIZE, MAX_SIZE)
    if not token:
        return Page(size, _FIRST)
    try:
        return Page(size, UUID(bytes=base64.urlsafe_b64decode(token + "==")))
    except (ValueError, binascii.Error):
        raise PageTokenInvalid from None


def cut(rows: Sequence[T], page: Page, id_of: Callable[[T], UUID]) -> Slice[T]:
    """The page out of the `page.limit` rows that were read for it."""
    if len(rows) <= page.size:
        return Slice(rows, "")
    kept = rows[: page.size]
    return Slice(kept, base64.urlsafe_b64encode(id_of(kept[-1]).bytes).rstrip(b"=").decode())
