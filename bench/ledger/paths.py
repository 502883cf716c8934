"""The calls to compare: our transfers, naive updates and PostSpend. Threads share them."""

import random
from collections.abc import Sequence
from uuid import uuid4

from bench.ledger.books import HOT, Books, correction
from sqlalchemy import BigInteger, Column, MetaData, Table, Uuid, bindparam, update

from adlib.db import Database, Query
from adlib.ids import new_id
from payment_service.holds.model import Earner, Escrow, Spend
from payment_service.holds.service import HoldService
from payment_service.ledger import store
from payment_service.ledger.model import Account, Outcome, Transfer

_naive = Table("naive", MetaData(), Column("id", Uuid), Column("balance", BigInteger))
_ADD = Query(
    update(_naive)
    .where(_naive.c.id == bindparam("account"))
    .values(balance=_naive.c.balance + bindparam("micros", type_=BigInteger))
)


class Naive:
    """Two updates in a transaction, in the order of ids to avoid deadlocks; without history or keys."""

    def __init__(self, books: Books, db: Database, size: int = 1, among: int = 0) -> None:
        self._books, self._db, self._size, self._among = books, db, size, among

    def __call__(self, random_: random.Random, number: int) -> None:
        moved: dict[str, int] = {}
        for _ in range(self._size):
            debit, credit = _pair(self._books, random_, self._among)
            for account, micros in ((debit, -1 - number % 9), (credit, 1 + number % 9)):
                moved[str(account.id)] = moved.get(str(account.id), 0) + micros
        with self._db.transaction() as tx:
            for account_id, micros in sorted(moved.items()):
                tx.execute(_ADD, account=account_id, micros=micros)


class Ours:
    """Transfers with keys, a chain each, in one statement and its own transaction."""

    def __init__(self, books: Books, db: Database, size: int = 1, among: int = 0) -> None:
        self._books, self._db, self._size, self._among = books, db, size, among

    def __call__(self, random_: random.Random, number: int) -> None:
        chains: list[Sequence[Transfer]] = [
            [correction(*_pair(self._books, random_, self._among), number)] for _ in range(self._size)
        ]
        outcomes = store.post_chains(self._db, chains, new_id)
        assert outcomes == [Outcome.POSTED] * self._size


class PostSpend:
    """PostSpend's use case: three transfers per item; all items have one publisher, or one of a thousand."""

    def __init__(self, books: Books, db: Database, size: int, *, one_publisher: bool) -> None:
        self._books, self._size = books, size
        self._holds = HoldService(db, new_id)
        self._earners = [Earner(uuid4(), uuid4(), 7000) for _ in range(1 if one_publisher else 1_000)]

    def __call__(self, random_: random.Random, number: int) -> None:
        escrows: list[Escrow] = random_.sample(self._books.escrows, self._size)
        items = [Spend(one, 1 + number % 9, str(new_id()), random_.choice(self._earners)) for one in escrows]
        assert all(result.posted_micros for result in self._holds.spend(items))


def _pair(books: Books, random_: random.Random, among: int) -> tuple[Account, Account]:
    """Any two accounts; with `among`, one of that many accounts and the hot account."""
    if not among:
        return books.pair(random_)
    return random_.choice(books.escrows[:among]).account, HOT
