"""JSON documents by collection and id, for live views and personal data."""

from adlib.documents.postgres import PostgresDocuments
from adlib.documents.protocol import Document, Documents

# `adlib.documents.firestore` is imported only where it is configured, because its client takes 1 s to load.
__all__ = ["Document", "Documents", "PostgresDocuments"]
