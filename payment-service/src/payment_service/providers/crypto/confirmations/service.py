"""Confirms the blocks read from a chain, and detects reorganizations.

A chain is reorganized if it no longer has a block whose hash is stored. The last common block is found, and the
transfers above it are orphaned. Logs are read again once their block has its confirmations, and for one address when
its payment is looked up, since nodes serve blocks before their logs. Depth is the only finality.
"""

from collections.abc import Callable

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import Unavailable
from adlib.telemetry import logger
from payment_service.providers.crypto.addresses import store as addresses
from payment_service.providers.crypto.addresses.model import Address
from payment_service.providers.crypto.chain import store
from payment_service.providers.crypto.chain.service import ChainReader
from payment_service.providers.crypto.client import Inconsistent, Node
from payment_service.providers.crypto.messages import Block
from payment_service.providers.crypto.model import MAX_REORGANIZATION_DEPTH, Chain, Position
from payment_service.providers.crypto.transfers import store as transfers

_BLOCKS_PER_STEP = 200
_log = logger(__name__)


class Confirmations:
    """Confirms one chain's blocks."""

    def __init__(self, chain: Chain, db: Database, reader: ChainReader, clock: Clock) -> None:
        self._chain = chain
        self._db = db
        self._reader = reader
        self._clock = clock

    def verify(self, node: Node, position: Position, head: int, last: Block | None) -> Position:
        """Returns the position, or after a reorganization that of the last common block.

        `last`: the block that the chain now has at the position.
        """
        if not position.hash and last:
            # An operator has deleted the stored hashes, so that reading continues from here.
            with self._db.transaction() as tx:
                store.lock_at(tx, self._chain.chain_id, position)
                store.add_blocks(tx, self._chain.chain_id, {last.number: last.hash})
            return Position(position.read_number, position.confirmed_number, hash=last.hash)
        if last and last.hash == position.hash:
            return position
        if last is None and not store.blocks(self._db, self._chain.chain_id, 0, head, 1):
            # No stored hash is that old, as after a new installation of the node, so nothing can be compared.
            raise Unavailable(f"the node of {self._chain.name} is far behind; try again")
        ancestor, hash = self._common_ancestor(node, min(position.read_number, head))
        if last is None and ancestor == head:
            return position  # the node is behind, on the same chain
        return self._reorganize(position, ancestor, hash)

    def confirm(self, node: Node, position: Position, head: int) -> Position:
        """Reads again the logs of blocks that now have their confirmations, so that their transfers can be credited."""
        target = min(position.read_number - self._chain.confirmations + 1, head)
        while position.confirmed_number < target and node.has_time:
            first = position.confirmed_number + 1
            logs, last = self._reader.logs(node, first, target)
            known = store.blocks(self._db, self._chain.chain_id, first, last, last - first + 1)
            if any(known.get(log.block_number, log.block_hash) != log.block_hash for log in logs):
                raise Inconsistent("the chain changed while its logs were read; try again")
            found = self._reader.transfers_from(node, logs)
            with self._db.transaction() as tx:
                store.lock_at(tx, self._chain.chain_id, position)
                transfers.add(tx, found)
                store.save_position(tx, self._chain.chain_id, position.read_number, last, self._clock.now())
            position = Position(position.read_number, last, hash=position.hash)
        return position

    def search(
        self,
        node: Node,
        address: Address,
        position: Position,
        book: Callable[[Position], None],
        is_stopping: Callable[[], bool],
    ) -> bool:
        """Searches confirmed blocks for token transfers to the address, and stores and books new ones.

        False if the deadline passed first; the next search resumes where this one stopped.
        """
        target, done = position.confirmed_number, address.searched_number
        # A reorganization may have moved a transfer to before the block that was the last when the address was created.
        made = (
            target - MAX_REORGANIZATION_DEPTH
            if address.made_number is None
            else address.made_number - self._chain.confirmations
        )
        last = max(made, -1) if done is None or done > target else done
        while last < target and node.has_time and not is_stopping():
            first = last + 1
            logs, last = self._reader.logs(node, first, target, address.address)
            found = self._reader.transfers_from(node, logs)
            with self._db.transaction() as tx:
                now = store.lock_position(tx, self._chain.chain_id)
                known = store.blocks(tx, self._chain.chain_id, first, last, last - first + 1)
                has_changed = any(known.get(log.block_number, log.block_hash) != log.block_hash for log in logs)
                if now is None or now.halted_reason or now.confirmed_number < last or has_changed:
                    raise Inconsistent("the chain changed while its logs were read; try again")
                transfers.add(tx, found)
                addresses.save_search(tx, address, last if last < target else None)
            if found:
                book(now)
        return last >= target

    def _reorganize(self, position: Position, ancestor: int, hash: str) -> Position:
        chain_id, confirmed = self._chain.chain_id, min(position.confirmed_number, ancestor)
        with self._db.transaction() as tx:
            store.lock_at(tx, chain_id, position)
            store.delete_blocks(tx, chain_id, 0, ancestor)
            orphaned = transfers.orphan(tx, chain_id, ancestor)
            store.save_position(tx, chain_id, ancestor, confirmed, self._clock.now())
        depth = position.read_number - ancestor
        _log.warning("chain_reorganized", chain=self._chain.name, depth=depth, ancestor=ancestor, transfers=orphaned)
        return Position(ancestor, confirmed, hash=hash)

    def _common_ancestor(self, node: Node, highest: int) -> tuple[int, str]:
        """The last block whose stored hash the chain has; halts the chain if there is none."""
        while known := store.blocks(self._db, self._chain.chain_id, 0, highest, _BLOCKS_PER_STEP):
            current = {block.number: block.hash for block in node.blocks(known)}
            if common := [number for number, hash in known.items() if current[number] == hash]:
                return max(common), known[max(common)]
            highest = min(known) - 1
        why = f"it was reorganized deeper than the {MAX_REORGANIZATION_DEPTH} blocks that are remembered"
        with self._db.transaction() as tx:
            store.halt(tx, self._chain.chain_id, why, self._clock.now())
        _log.critical("chain_halted", chain=self._chain.name, reason=why)
        raise Unavailable(f"{self._chain.name} is being looked into by staff: {why}")
