"""The interface of the document store."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

Document = Mapping[str, Any]


class Documents(Protocol):
    """Stores JSON documents by collection and id; a document that has expired does not exist.

    A collection is a name, or the path of one inside a document: `users/<id>/notifications`. Arrays must not contain
    arrays, because Firestore does not support them. Every method raises Unavailable, DeadlineExceeded and Aborted.
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
        """Stores the document, unless the stored one has this version or a later one; returns whether it did.

        Without a version, always replaces the stored document.
        """
        ...

    def update(self, collection: str, id: str, fields: Document) -> Document | None:
        """Sets these fields of an existing document and returns all its fields, or None if it does not exist.

        The other fields, the version and the expiry stay unchanged.
        """
        ...

    def get(self, collection: str, id: str) -> Document | None:
        """Returns the document, or None."""
        ...

    def list(self, collection: str, limit: int) -> Sequence[tuple[str, Document]]:
        """Lists up to `limit` ids and documents, the latest version first."""
        ...

    def count(self, collection: str, limit: int) -> int:
        """Counts the documents of a collection, up to `limit`."""
        ...

    def delete(self, collection: str, id: str) -> bool:
        """Deletes the document and returns whether it existed."""
        ...
