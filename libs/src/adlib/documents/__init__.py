"""JSON documents by collection and id: live views, and what belongs to one person."""

from adlib.documents.postgres import PostgresDocuments
from adlib.documents.protocol import Document, Documents

# Firestore's is imported from `adlib.documents.firestore` where it is configured: its client takes a second to load.
__all__ = ["Document", "Documents", "PostgresDocuments"]
