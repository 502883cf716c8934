"""A PostgreSQL with fsync on, our ledger, a naive table of balances, and funds in both."""

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import psycopg

from adctl.embedded.postgres import PostgresServer
from adlib.db import Database, migrate
from adlib.ids import new_id
from adlib.telemetry import configure_logging
from payment_service.holds.model import Escrow
from payment_service.ledger import store
from payment_service.ledger.model import Account, Kind, Transfer, deposit

ACCOUNTS = 1_000
FUNDS_MICROS = 1_000_000_000_000
# The account that all clients of a hot run post to.
HOT = Account(Kind.PLATFORM_REVENUE, "USD", None, str(UUID(int=1)))
# The same fill factor and the same lower limit as our accounts.
_NAIVE = """
CREATE TABLE naive (id uuid PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0)) WITH (fillfactor = 70)
"""


@dataclass(frozen=True, slots=True)
class Books:
    """Escrows, each with funds, and as many rows of the same ids in the naive table."""

    url: str
    escrows: Sequence[Escrow]

    def pair(self, random_: random.Random) -> tuple[Account, Account]:
        """Two different accounts."""
        one, other = random_.sample(self.escrows, 2)
        return one.account, other.account


@contextmanager
def books() -> Iterator[Books]:
    """Runs PostgreSQL during the block, and deletes its data at the end."""
    configure_logging("bench", "ERROR")
    with tempfile.TemporaryDirectory(prefix="bench-ledger-") as folder:
        server = PostgresServer(Path(folder) / "postgres", fsync=True)
        try:
            with server:
                yield _filled(server.url())
        finally:
            server.cluster.delete()


def _filled(url: str) -> Books:
    migrate(url, ("payment_service", "migrations"))
    escrows = [Escrow(uuid4(), uuid4(), "USD") for _ in range(ACCOUNTS)]
    db = Database(url, statement_timeout_ms=60_000)
    chains = []
    for number, escrow in enumerate(escrows):
        paid = deposit(uuid4(), escrow.organization_id, "STRIPE", 2 * FUNDS_MICROS, "USD")
        chains.append([paid, escrow.hold(FUNDS_MICROS, f"fill:{number}")])
    outcomes = store.post_chains(db, chains, new_id)
    assert set(outcomes) == {store.Outcome.POSTED}, outcomes
    db.close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_NAIVE)
        connection.execute(
            "INSERT INTO naive SELECT unnest(%s::uuid[]), %s",
            [[*(one.account.id for one in escrows), HOT.id], FUNDS_MICROS],
        )
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
    return Books(url, escrows)


def correction(debit: Account, credit: Account, number: int) -> Transfer:
    """A transfer of a few micros."""
    id = new_id()
    return Transfer("CORRECTION", debit, credit, 1 + number % 9, id, f"bench:{id}")
