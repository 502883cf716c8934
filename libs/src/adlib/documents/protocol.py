"""What keeps documents, whichever it is."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

Document = Mapping[str, Any]


class Documents(Protocol):
    """Keeps JSON documents by collection and id. One that has expired is not there, whether or not it is deleted.

    A collection is a name, or the path to one inside a document: `users/<id>/notifications`. No array in a document
    may hold an array directly, since Firestore takes none. UNAVAILABLE, DEADLINE_EXCEEDED, ABORTED.
    """

    def put(
        self,
        collection: str,
        id: str,
        data: Document,
        version: int | None = None,
        *,
        expires_at: datetime | None = None,
    ) -> bool:
        """Stores the document unless one of this version or a later one is there; whether it did.

        Without a version it takes the place of whatever is there.
        """
        ...

    def update(self, collection: str, id: str, fields: Document) -> Document | None:
        """Sets these fields and leaves the others, the version and the expiry; the whole after it, or None."""
        ...

    def get(self, collection: str, id: str) -> Document | None:
        """The document, or None."""
        ...

    def list(self, collection: str, limit: int) -> Sequence[tuple[str, Document]]:
        """Ids and documents, the latest version first."""
        ...

    def count(self, collection: str, limit: int) -> int:
        """How many there are, counted up to the limit."""
        ...

    def delete(self, collection: str, id: str) -> bool:
        """Deletes the document; whether there was one."""
        ...
