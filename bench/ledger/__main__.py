"""The ledger's transfers beside a naive pair of updates, on the same server, in one run."""

import os
import time

from bench.ledger.books import Books, books
from bench.ledger.measure import Contest, Figure
from bench.ledger.paths import Naive, Ours, PostSpend
from rich.console import Console
from rich.table import Table

from adlib.db import Database
from payment_service.balances import store as verified

_BATCH = 100


def main() -> None:
    started = time.monotonic()
    console = Console(width=max(Console().width, 110))
    with books() as made:
        table = Table(title="Transfers, fsync on; a naive pair of updates is 1 x", title_justify="left")
        table.add_column("what")
        for heading in ("clients", "connections", "transfers/s", "p99 ms a call", "of the naive", "target"):
            table.add_column(heading, justify="right")
        for connections in (1, 8):
            _beside_the_naive(table, made, connections)
        _hot(table, made)
        _publishers(table, made)
        console.print(table)
        db = Database(made.url, statement_timeout_ms=60_000)
        found = verified.verify(db)
        db.close()
        assert all(one.are_sound for one in found), found
        console.print(
            f"{sum(one.transfers for one in found):,} transfers; every balance equals the sum of its transfers."
        )
    console.print(
        f"{time.monotonic() - started:.0f} s; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    )


def _beside_the_naive(table: Table, made: Books, connections: int) -> None:
    db = Database(made.url, max_connections=connections)
    found = Contest(
        {
            "a naive pair of updates": (Naive(made, db), 1),
            "a transfer": (Ours(made, db), 1),
            f"{_BATCH} transfers, a chain each": (Ours(made, db, _BATCH), _BATCH),
            f"{_BATCH} naive pairs in one transaction": (Naive(made, db, _BATCH), _BATCH),
        },
        clients=connections,
    ).run()
    db.close()
    peer, *_ = found.values()
    targets = [None, 0.7, 3.0, None]
    for (name, figure), target in zip(found.items(), targets, strict=True):
        _add(table, name, connections, connections, figure, peer, target)


def _hot(table: Table, made: Books) -> None:
    """64 clients with transfers to one account, or between any two of a thousand."""
    db = Database(made.url, max_connections=16, wait_s=30)
    for place, among in (("to one account", 1_000), ("between any of 1,000", 0)):
        found = Contest(
            {
                f"naive, {place}": (Naive(made, db, 1, among), 1),
                f"a transfer {place}": (Ours(made, db, 1, among), 1),
                f"{_BATCH} transfers {place}": (Ours(made, db, _BATCH, among), _BATCH),
            },
            clients=64,
        ).run()
        peer, *_ = found.values()
        for name, figure in found.items():
            _add(table, name, 64, 16, figure, peer, None)
    db.close()


def _publishers(table: Table, made: Books) -> None:
    """PostSpend's use case with its transaction: three transfers per item."""
    db = Database(made.url, max_connections=8, wait_s=30)
    found = Contest(
        {
            "PostSpend, 1,000 publishers": (PostSpend(made, db, _BATCH, one_publisher=False), 3 * _BATCH),
            "PostSpend, one publisher": (PostSpend(made, db, _BATCH, one_publisher=True), 3 * _BATCH),
        },
        clients=8,
    ).run()
    db.close()
    for name, figure in found.items():
        _add(table, name, 8, 8, figure, None, None)


def _add(
    table: Table, name: str, clients: int, connections: int, figure: Figure, peer: Figure | None, target: float | None
) -> None:
    ratio = f"{figure.per_s / peer.per_s:.2f} x" if peer else ""
    table.add_row(
        name, str(clients), str(connections), f"{figure.per_s:,.0f}", f"{figure.p99_ms:,.1f}", ratio,
        "" if target is None else f"{target} x",
    )  # fmt: skip


if __name__ == "__main__":
    main()
