"""The document store in a JSONB table of the service's own database (migrations/documents)."""

from collections.abc import Sequence
from datetime import datetime

from psycopg.types.json import Jsonb
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from typing_extensions import override

from adlib.clock import Clock, SystemClock
from adlib.db import Database, Query
from adlib.documents.protocol import Document, Documents
from adlib.retention import Retention

# In Firestore a TTL policy deletes expired documents.
RETENTION = Retention("documents", "expires_at", days=0)

_table = Table(
    "documents", MetaData(),
    Column("collection", Text), Column("id", Text), Column("data", JSONB), Column("version", BigInteger),
    Column("expires_at", DateTime(timezone=True)),
)  # fmt: skip
_now = bindparam("now", type_=DateTime(timezone=True))
_is_expired = _table.c.expires_at <= _now
_is_live = or_(_table.c.expires_at.is_(None), _table.c.expires_at > _now)
_is_in = _table.c.collection == bindparam("of_collection")
_is_this = _is_in & (_table.c.id == bindparam("of_id")) & _is_live

_new = insert(_table).values(
    collection=bindparam("of_collection"), id=bindparam("of_id"), data=bindparam("new_data", type_=JSONB),
    version=bindparam("new_version"), expires_at=bindparam("new_expires_at"),
)  # fmt: skip
_primary_key = [_table.c.collection, _table.c.id]
_set = {"data": _new.excluded.data, "version": _new.excluded.version, "expires_at": _new.excluded.expires_at}
_PUT = Query(
    _new.on_conflict_do_update(
        index_elements=_primary_key, set_=_set, where=or_(_table.c.version < _new.excluded.version, _is_expired)
    )
)
_REPLACE = Query(
    _new.on_conflict_do_update(
        index_elements=_primary_key,
        set_={**_set, "version": func.greatest(_table.c.version + 1, _new.excluded.version)},
    )
)
_UPDATE = Query(
    update(_table)
    .where(_is_this)
    .values(data=_table.c.data.op("||")(bindparam("fields", type_=JSONB)))
    .returning(_table.c.data)
)
_GET = Query(select(_table.c.data).where(_is_this))
_LIST = Query(
    select(_table.c.id, _table.c.data)
    .where(_is_in, _is_live)
    .order_by(_table.c.version.desc(), _table.c.id.desc())
    .limit(bindparam("most"))
)
_up_to_limit = select(_table.c.id).where(_is_in, _is_live).limit(bindparam("most")).subquery()
_COUNT = Query(select(func.count().label("count")).select_from(_up_to_limit))
_DELETE = Query(delete(_table).where(_is_this))


class PostgresDocuments(Documents):
    """The document store in a JSONB table of the service's own database."""

    def __init__(self, db: Database, clock: Clock | None = None) -> None:
        self._db = db
        self._clock = clock or SystemClock()

    @override
    def put(
        self,
        collection: str,
        id: str,
        data: Document,
        version: int | None = None,
        *,
        expires_at: datetime | None = None,
    ) -> bool:
        row = {"of_collection": collection, "of_id": id, "new_data": Jsonb(data), "new_expires_at": expires_at}
        now = self._clock.now()
        with self._db.transaction() as tx:
            if version is None:
                return tx.execute(_REPLACE, **row, new_version=int(now.timestamp() * 1e6)) == 1
            return tx.execute(_PUT, **row, new_version=version, now=now) == 1

    @override
    def update(self, collection: str, id: str, fields: Document) -> Document | None:
        with self._db.transaction() as tx:
            row = tx.one(_UPDATE, of_collection=collection, of_id=id, fields=Jsonb(fields), now=self._clock.now())
        return row.data if row else None

    @override
    def get(self, collection: str, id: str) -> Document | None:
        row = self._db.one(_GET, of_collection=collection, of_id=id, now=self._clock.now())
        return row.data if row else None

    @override
    def list(self, collection: str, limit: int) -> Sequence[tuple[str, Document]]:
        rows = self._db.all(_LIST, of_collection=collection, most=limit, now=self._clock.now())
        return [(row.id, row.data) for row in rows]

    @override
    def count(self, collection: str, limit: int) -> int:
        row = self._db.one(_COUNT, of_collection=collection, most=limit, now=self._clock.now())
        return int(row.count) if row else 0

    @override
    def delete(self, collection: str, id: str) -> bool:
        with self._db.transaction() as tx:
            return tx.execute(_DELETE, of_collection=collection, of_id=id, now=self._clock.now()) == 1
