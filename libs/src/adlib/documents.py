"""Documents for live views: projections of events, one collection a kind."""

from collections.abc import Mapping
from typing import Any, Protocol

from psycopg.types.json import Jsonb
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, bindparam, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from adlib.db import Database, Query

Document = Mapping[str, Any]


class Documents(Protocol):
    """Keeps JSON documents by collection and id."""

    def put(self, collection: str, id: str, data: Document, version: int) -> bool:
        """Stores the document unless one of this version or a later one is there; whether it did."""
        ...

    def get(self, collection: str, id: str) -> Document | None:
        """The document, or None."""
        ...


_table = Table(
    "documents", MetaData(),
    Column("collection", Text), Column("id", Text), Column("data", JSONB), Column("version", BigInteger),
)  # fmt: skip
_new = insert(_table).values(
    collection=bindparam("collection"), id=bindparam("id"), data=bindparam("data", type_=JSONB),
    version=bindparam("version"),
)  # fmt: skip
_PUT = Query(
    _new.on_conflict_do_update(
        index_elements=[_table.c.collection, _table.c.id],
        set_={"data": _new.excluded.data, "version": _new.excluded.version},
        where=_table.c.version < _new.excluded.version,
    )
)
_GET = Query(
    select(_table.c.data).where(_table.c.collection == bindparam("collection"), _table.c.id == bindparam("id"))
)


class PostgresDocuments:
    """Documents in a JSONB table of the service's own database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, collection: str, id: str, data: Document, version: int) -> bool:
        """Stores the document unless one of this version or a later one is there; whether it did."""
        with self._db.transaction() as tx:
            return tx.execute(_PUT, collection=collection, id=id, data=Jsonb(data), version=version) == 1

    def get(self, collection: str, id: str) -> Document | None:
        """The document, or None."""
        row = self._db.one(_GET, collection=collection, id=id)
        return row.data if row else None


class MemoryDocuments:
    """Documents in a dictionary, for tests of what projects into them."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[int, Document]] = {}

    def put(self, collection: str, id: str, data: Document, version: int) -> bool:
        """Stores the document unless one of this version or a later one is there; whether it did."""
        kept = self._kept.get((collection, id))
        if kept and kept[0] >= version:
            return False
        self._kept[collection, id] = (version, dict(data))
        return True

    def get(self, collection: str, id: str) -> Document | None:
        """The document, or None."""
        kept = self._kept.get((collection, id))
        return kept[1] if kept else None
