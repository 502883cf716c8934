"""The idempotency-key header: a repeated request gets the stored answer; another body with the same key is refused."""

import hashlib
from collections.abc import Callable
from typing import Generic, TypeVar
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason
from google.protobuf.message import Message
from sqlalchemy import (
    Column,
    DateTime,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    bindparam,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Session, Transaction
from adlib.db.database import Row
from adlib.errors import InvalidArgument
from adlib.retention import Retention

MAX_LENGTH = 255
# A key that is used again later counts as new.
RETENTION = Retention("idempotency_keys", "created_at", days=30)

_table = Table(
    "idempotency_keys", MetaData(),
    Column("organization_id", Uuid), Column("method", Text), Column("key", Text),
    Column("request_hash", LargeBinary), Column("response", LargeBinary),
    Column("created_at", DateTime(timezone=True)),
)  # fmt: skip
_IS_KEY = (
    (_table.c.organization_id == bindparam("organization"))
    & (_table.c.method == bindparam("of_method"))
    & (_table.c.key == bindparam("of_key"))
)
_CLAIM = Query(
    insert(_table)
    .values(
        organization_id=bindparam("organization"), method=bindparam("of_method"), key=bindparam("of_key"),
        request_hash=bindparam("hash"),
    )
    .on_conflict_do_nothing()
)  # fmt: skip
_FIND = Query(select(_table.c.request_hash, _table.c.response).where(_IS_KEY))
_STORE_ANSWER = Query(update(_table).where(_IS_KEY).values(response=bindparam("answer")))
T = TypeVar("T")
M = TypeVar("M", bound=Message)


class KeyInvalid(InvalidArgument):
    """The key is too long or has unprintable characters."""

    reason = ErrorReason.IDEMPOTENCY_KEY_INVALID

    def __init__(self) -> None:
        super().__init__(f"the idempotency-key header must have 1 to {MAX_LENGTH} printable ASCII characters")


class KeyReused(InvalidArgument):
    """The key was used before with another body."""

    reason = ErrorReason.IDEMPOTENCY_KEY_REUSED

    def __init__(self) -> None:
        super().__init__("this idempotency-key was used before with another body; use a new key for a new request")


class Idempotency(Generic[T, M]):
    """The idempotency of one call: answers a repeated request with the stored answer.

    A use case calls `replay` first in its transaction and `record` last. Without the header both do nothing.
    """

    def __init__(
        self, organization_id: UUID, method: str, key: str, request: Message, render: Callable[[T], M], answer: type[M]
    ) -> None:
        if key and (len(key) > MAX_LENGTH or not (key.isascii() and key.isprintable())):
            raise KeyInvalid
        self.key = key
        self._row = {"organization": organization_id, "of_method": method, "of_key": key}
        self._hash = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
        self._render = render
        self._answer = answer

    def stored_answer(self, db: Session) -> M | None:
        """Returns the stored answer, or None; does not claim the key, so it can be called before a transaction."""
        row = db.one(_FIND, **self._row) if self.key else None
        return self._read(row) if row else None

    def replay(self, tx: Transaction) -> M | None:
        """Claims the key and returns the stored answer, or None if there is none yet.

        A concurrent call with the same key waits for the end of this transaction. Raises KeyReused.
        """
        if not self.key or tx.execute(_CLAIM, **self._row, hash=self._hash) == 1:
            return None
        row = tx.one(_FIND, **self._row)
        return self._read(row) if row else None

    def _read(self, row: Row) -> M | None:
        if row.request_hash != self._hash:
            raise KeyReused
        return None if row.response is None else self._answer.FromString(row.response)

    def record(self, tx: Transaction, value: T) -> M:
        """Renders the answer and stores it for repeated requests."""
        message = self._render(value)
        if self.key:
            tx.execute(_STORE_ANSWER, **self._row, answer=message.SerializeToString())
        return message
