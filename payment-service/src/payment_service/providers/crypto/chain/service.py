"""Reads a chain: its blocks, and the transfers in them to deposit addresses.

The hashes of read blocks are stored with the transfers and the new position in one transaction. Each block must name
its predecessor's hash, and each log its block's.

Coins that a contract sends (internal transactions) do not appear in JSON-RPC, and are not seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import Unavailable
from adlib.telemetry import logger
from payment_service.providers.crypto.addresses import store as addresses
from payment_service.providers.crypto.chain import store
from payment_service.providers.crypto.client import Inconsistent, Node, Refused
from payment_service.providers.crypto.messages import Block, Log
from payment_service.providers.crypto.model import MAX_REORGANIZATION_DEPTH, Chain, Coin, Position
from payment_service.providers.crypto.transfers import store as transfers
from payment_service.providers.crypto.transfers.model import Transfer
from payment_service.providers.crypto.valuation.service import Valuation

# The blocks before its head from which a chain without `start_block` is read.
START_BEFORE_HEAD = 1_000
# Blocks with all their transactions are large.
_MAX_FULL_BLOCKS = 100
_log = logger(__name__)


class ChainReader:
    """Reads one chain. The number of blocks per request adapts to the limits of the node."""

    def __init__(self, chain: Chain, db: Database, valuation: Valuation, clock: Clock) -> None:
        self._chain = chain
        self._db = db
        self._valuation = valuation
        self._clock = clock
        self._range = chain.block_range
        self._newest_at: datetime | None = None

    def start(self, node: Node) -> Position:
        """Stores the first position of a chain that was never read."""
        head, _ = node.head_and_block(0)
        configured = self._chain.start_block
        number = max(0, head - START_BEFORE_HEAD if configured is None else min(configured - 1, head))
        (block,) = node.blocks([number])
        with self._db.transaction() as tx:
            store.add(tx, self._chain.chain_id, number, self._clock.now())
            store.add_blocks(tx, self._chain.chain_id, {number: block.hash})
        _log.info("chain_started", chain=self._chain.name, number=number)
        return Position(number, number, hash=block.hash)

    def read(self, node: Node, position: Position, head: int) -> Position:
        """Reads the next blocks, and stores their hashes and transfers; ABORTED, UNAVAILABLE."""
        first, native = position.read_number + 1, self._chain.native
        logs, last = self.logs(node, first, min(head, first + _MAX_FULL_BLOCKS - 1) if native else head)
        with self._halving_range():
            blocks = node.blocks(range(first, last + 1), with_transactions=native is not None, max_batch=self._range)
        previous = position.hash
        for block in blocks:
            if block.parent_hash != previous:
                raise Inconsistent("the chain changed while it was read; try again")
            previous = block.hash
        self.record_newest(blocks[-1])
        found = self._token_transfers(logs, {block.number: block for block in blocks})
        if native:
            found += self._native_transfers(node, native, blocks)
        chain_id = self._chain.chain_id
        with self._db.transaction() as tx:
            store.lock_at(tx, chain_id, position)
            store.add_blocks(tx, chain_id, {block.number: block.hash for block in blocks})
            store.delete_blocks(tx, chain_id, last - MAX_REORGANIZATION_DEPTH, last)
            transfers.add(tx, found)
            store.save_position(tx, chain_id, last, position.confirmed_number, self._clock.now())
        return Position(last, position.confirmed_number, hash=previous)

    def logs(self, node: Node, first: int, most: int, receiver: str = "") -> tuple[list[Log], int]:
        """The token transfers in blocks from `first` on, and the number of the last block read, at most `most`."""
        contracts = list(self._chain.contracts)
        while True:
            last = min(most, first + self._range - 1)
            try:
                with self._halving_range():
                    logs = node.logs(contracts, first, last, receiver) if contracts else []
            except Refused:
                if last == first:
                    raise
                self._range = (last - first + 1) // 2
                _log.info("chain_range_halved", chain=self._chain.name, blocks=self._range)
            else:
                self._range = min(self._range + max(self._range // 8, 1), self._chain.block_range)
                return [log for log in logs if log.contract in self._chain.contracts], last

    def transfers_from(self, node: Node, logs: Sequence[Log]) -> list[Transfer]:
        """The transfers to deposit addresses among the logs; fetches their blocks."""
        known = addresses.find_any_tenant(self._db, {log.receiver for log in logs})
        received = [log for log in logs if log.receiver in known]
        numbers = sorted({log.block_number for log in received})
        return self._token_transfers(received, {block.number: block for block in node.blocks(numbers)})

    def record_newest(self, block: Block) -> None:
        """Records the time of the newest block read."""
        self._newest_at = datetime.fromtimestamp(block.timestamp, UTC)

    def save_progress(self, position: Position, head: int) -> None:
        """Stores whether the chain was read up to its head."""
        behind = position.read_number - head
        with self._db.transaction() as tx:
            if behind > 0:
                store.save_fault(tx, self._chain.chain_id, f"it is {behind} blocks behind")
            elif behind == 0:
                store.save_current(tx, self._chain.chain_id, self._newest_at, self._clock.now())

    @contextmanager
    def _halving_range(self) -> Iterator[None]:
        """Halves the number of blocks per request if the node does not answer: the request may have been too large."""
        try:
            yield
        except (Refused, Inconsistent):
            raise
        except Unavailable:
            self._range = max(self._range // 2, 1)
            raise

    def _token_transfers(self, logs: Sequence[Log], blocks: Mapping[int, Block]) -> list[Transfer]:
        known = addresses.find_any_tenant(self._db, {log.receiver for log in logs})
        received = [log for log in logs if log.receiver in known]
        hashes = {number: block.hash for number, block in blocks.items()}
        if any(hashes.get(log.block_number) != log.block_hash for log in received):
            raise Inconsistent("the chain changed while its logs were read; try again")
        valued = [
            self._valuation.transfer(
                blocks[log.block_number], log.transaction_hash, str(log.index), known[log.receiver],
                self._chain.contracts[log.contract], log.amount,
            )
            for log in received
        ]  # fmt: skip
        return [transfer for transfer in valued if transfer]

    def _native_transfers(self, node: Node, coin: Coin, blocks: Sequence[Block]) -> list[Transfer]:
        receivers = {transaction.receiver for block in blocks for transaction in block.transactions}
        known = addresses.find_any_tenant(self._db, receivers)
        received = [(block, one) for block in blocks for one in block.transactions if one.receiver in known]
        valued = []
        for (block, one), receipt in zip(received, node.receipts([one.hash for _, one in received]), strict=True):
            if receipt is None or receipt.block_hash != block.hash:
                raise Inconsistent("the chain changed while a transaction was read; try again")
            if receipt.is_successful:
                address = known[one.receiver]
                valued.append(self._valuation.transfer(block, one.hash, "native", address, coin, one.amount))
        return [transfer for transfer in valued if transfer]
