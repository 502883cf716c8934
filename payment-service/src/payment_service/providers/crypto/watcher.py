"""Reads a chain block by block, and books what was sent to our addresses.

Reading and booking are two steps. What was read is stored with how far it was, in one transaction; what is stored is
booked after that, a transaction for each, so that a crash between the two loses nothing and locks stay in their order.
Whoever books decides by what is stored then, under a lock, so a second watcher, or one that lost its turn and does not
know, books nothing twice and nothing that has been taken back.

Blocks are known by their hashes: each must name the one before it. Where one does not, the chain was reorganized: the
last common block is looked for, and what was seen above it is taken back. What was read is read once more when it has
its confirmations, and for one address when it is asked for, as nodes serve blocks before their logs. Finality is depth.

Coins that a contract sends from inside (internal transactions) leave no trace in JSON-RPC, and are not seen.
"""

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import Aborted, AppError, Unavailable
from adlib.money import floor_to_minor
from adlib.telemetry import logger
from payment_service.payments.model import IncomingFunds, Report, State
from payment_service.providers.crypto import store
from payment_service.providers.crypto.model import Chain, Coin
from payment_service.providers.crypto.node import Block, Inconsistent, Log, Node, Refused
from payment_service.providers.crypto.rates import Rates
from payment_service.providers.crypto.store import Address, Position, Stage, Transfer
from payment_service.providers.crypto.valuation import Valuation
from payment_service.providers.protocol import Bookings

NAME = "CRYPTO"
# So many hashes are kept: a reorganization that goes deeper stops the chain.
HISTORY = 2_000
# So far before its head a chain is begun with, where nothing else is configured.
BEGIN_BEFORE = 1_000
_PASS_S = 60.0
_LONGEST_PAUSE_S = 60.0
_BATCH = 200
# Blocks with all their transactions, which are large, that are read at once.
_FULL_BLOCKS = 100
_log = logger(__name__)


class Watcher:
    """Watches one chain. Any number of processes may run one: one of them at a time looks."""

    def __init__(self, chain: Chain, node: Node, db: Database, bookings: Bookings, rates: Rates, clock: Clock) -> None:
        self._chain = chain
        self._node = node
        self._db = db
        self._bookings = bookings
        self._valuation = Valuation(chain, rates, clock)
        self._clock = clock
        self._range = chain.block_range
        self._newest_at: datetime | None = None
        self._stop = threading.Event()

    def pause(self, seconds: float) -> None:
        """Waits, but not for longer than the process lives."""
        self._stop.wait(seconds)

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set."""
        self._stop = stop
        failures = 0
        while not stop.is_set():
            try:
                self.look(_PASS_S)
                failures = 0
            except AppError as error:
                failures += 1
                _log.warning("chain_not_read", chain=self._chain.name, failures=failures, error=error.message)
            except Exception:  # noqa: BLE001 - a fault must not stop the watching for ever
                failures += 1
                _log.error("chain_watcher_failed", chain=self._chain.name, exc_info=True)
            longest = min(self._chain.poll_s * 2 ** min(failures, 10), _LONGEST_PAUSE_S)
            # Not all processes at the same moment, and not all of them at a node that has just come back.
            stop.wait(longest * random.uniform(0.5, 1.0) if failures else longest)  # noqa: S311 - a pause

    def look(self, seconds: float) -> bool:
        """Reads what is new, and books it, as far as the time is enough; False where another one is at it.

        UNAVAILABLE where the node does not answer or the chain was halted.
        """
        with self._db.advisory_lock(f"crypto-chain-{self._chain.chain_id}") as alone:
            if alone:
                try:
                    self._look(self._node.within(seconds))
                except Unavailable as error:
                    with self._db.transaction() as tx:
                        store.fault(tx, self._chain.chain_id, error.message)
                    raise
            return alone

    def search(self, address: Address, seconds: float) -> bool:
        """Reads again which tokens the address was sent, and books what is new; False: not to the end. UNAVAILABLE."""
        if not self._chain.contracts:
            return True
        node, position = self._node.within(seconds), store.position(self._db, self._chain.chain_id)
        if position is None or position.halted_reason or not node.has_time:
            return False
        try:
            _, block = node.head_and(position.read_number)
            # A node that is behind, or on a fork, would say that there is nothing.
            return block is not None and block.hash == position.hash and self._search(node, address, position)
        except Unavailable:
            if node.has_time:
                raise
            return False

    def _search(self, node: Node, address: Address, position: Position) -> bool:
        target, done = position.confirmed_number, address.searched_number
        # A reorganization may have moved what was sent before blocks that were there when the address was made.
        made = target - HISTORY if address.made_number is None else address.made_number - self._chain.confirmations
        last = max(made, -1) if done is None or done > target else done
        while last < target and node.has_time and not self._stop.is_set():
            first = last + 1
            logs, last = self._logs(node, first, target, address.address)
            transfers = self._in_their_blocks(node, logs)
            with self._db.transaction() as tx:
                now = store.lock_position(tx, self._chain.chain_id)
                known = store.blocks(tx, self._chain.chain_id, first, last, last - first + 1)
                changed = any(known.get(log.block_number, log.block_hash) != log.block_hash for log in logs)
                if now is None or now.halted_reason or now.confirmed_number < last or changed:
                    raise Inconsistent("the chain changed while its logs were read; try again")
                store.add_transfers(tx, transfers)
                store.searched(tx, address, last if last < target else None)
            if transfers:
                self._book(now)
        return last >= target

    def _look(self, node: Node) -> None:
        position = store.position(self._db, self._chain.chain_id) or self._begin(node)
        if position.halted_reason:
            _log.error("chain_halted", chain=self._chain.name, reason=position.halted_reason)
            raise Unavailable(f"{self._chain.name} is being looked into by staff: {position.halted_reason}")
        try:
            head, last = node.head_and(position.read_number)
            if last:
                self._newest_at = datetime.fromtimestamp(last.timestamp, UTC)
            position = self._verified(node, position, head, last)
            while position.read_number < head and node.has_time and not self._stop.is_set():
                position = self._read(node, position, head)
                position = self._confirm(node, position, head)
                self._book(position)
            position = self._confirm(node, position, head)
            self._note(position, head)
        finally:
            # What is stored can be booked without the node.
            self._book(position)

    def _note(self, position: Position, head: int) -> None:
        """Records whether this look has come to the newest block."""
        behind = position.read_number - head
        with self._db.transaction() as tx:
            if behind > 0:
                store.fault(tx, self._chain.chain_id, f"it is {behind} blocks behind")
            elif behind == 0:
                store.current(tx, self._chain.chain_id, self._newest_at, self._clock.now())

    def _begin(self, node: Node) -> Position:
        head, _ = node.head_and(0)
        start = self._chain.start_block
        number = max(0, head - BEGIN_BEFORE if start is None else min(start - 1, head))
        (block,) = node.blocks([number])
        with self._db.transaction() as tx:
            store.begin(tx, self._chain.chain_id, number, self._clock.now())
            store.add_blocks(tx, self._chain.chain_id, {number: block.hash})
        _log.info("chain_begun", chain=self._chain.name, number=number)
        return Position(number, number, hash=block.hash)

    def _verified(self, node: Node, position: Position, head: int, last: Block | None) -> Position:
        """The position, if the chain still has that block; else the last common one."""
        if not position.hash and last:
            # Somebody who looked into it has emptied the history, and says by that to go on from here.
            with self._moving(position) as tx:
                store.add_blocks(tx, self._chain.chain_id, {last.number: last.hash})
            return Position(position.read_number, position.confirmed_number, hash=last.hash)
        if last and last.hash == position.hash:
            return position
        if last is None and not store.blocks(self._db, self._chain.chain_id, 0, head, 1):
            # As after a new installation: nothing can be said of a chain by its beginning.
            raise Unavailable(f"the node of {self._chain.name} is far behind; try again")
        ancestor, hash = self._ancestor(node, min(position.read_number, head))
        if last is None and ancestor == head:
            return position  # the node is behind, on the same chain
        confirmed = min(position.confirmed_number, ancestor)
        with self._moving(position) as tx:
            store.forget_blocks(tx, self._chain.chain_id, 0, ancestor)
            gone = store.orphan(tx, self._chain.chain_id, ancestor)
            store.move(tx, self._chain.chain_id, ancestor, confirmed, self._clock.now())
        depth = position.read_number - ancestor
        _log.warning("chain_reorganized", chain=self._chain.name, depth=depth, ancestor=ancestor, transfers=gone)
        return Position(ancestor, confirmed, hash=hash)

    def _ancestor(self, node: Node, highest: int) -> tuple[int, str]:
        """The last block that we and the chain both have."""
        while known := store.blocks(self._db, self._chain.chain_id, 0, highest, _BATCH):
            theirs = {block.number: block.hash for block in node.blocks(known)}
            if common := [number for number, hash in known.items() if theirs[number] == hash]:
                return max(common), known[max(common)]
            highest = min(known) - 1
        why = f"it was reorganized deeper than the {HISTORY} blocks that are remembered"
        with self._db.transaction() as tx:
            store.halt(tx, self._chain.chain_id, why, self._clock.now())
        _log.critical("chain_halted", chain=self._chain.name, reason=why)
        raise Unavailable(f"{self._chain.name} is being looked into by staff: {why}")

    def _read(self, node: Node, position: Position, head: int) -> Position:
        """Reads some blocks, and stores what they hold together with their hashes."""
        first, native = position.read_number + 1, self._chain.native
        logs, last = self._logs(node, first, min(head, first + _FULL_BLOCKS - 1) if native else head)
        with self._asking_less():
            found = node.blocks(range(first, last + 1), with_transactions=native is not None, at_once=self._range)
        previous = position.hash
        for block in found:
            if block.parent_hash != previous:
                raise Inconsistent("the chain changed while it was read; try again")
            previous = block.hash
        self._newest_at = datetime.fromtimestamp(found[-1].timestamp, UTC)
        hashes = {block.number: block.hash for block in found}
        transfers = self._of_tokens(logs, {block.number: block for block in found})
        if native:
            transfers += self._of_native(node, native, found)
        with self._moving(position) as tx:
            chain_id = self._chain.chain_id
            store.add_blocks(tx, chain_id, hashes)
            store.forget_blocks(tx, chain_id, last - HISTORY, last)
            store.add_transfers(tx, transfers)
            store.move(tx, chain_id, last, position.confirmed_number, self._clock.now())
        return Position(last, position.confirmed_number, hash=previous)

    def _confirm(self, node: Node, position: Position, head: int) -> Position:
        """Reads the logs of blocks that have their confirmations once more; from then on what they hold is credited."""
        target = min(position.read_number - self._chain.confirmations + 1, head)
        while position.confirmed_number < target and node.has_time:
            first = position.confirmed_number + 1
            logs, last = self._logs(node, first, target)
            known = store.blocks(self._db, self._chain.chain_id, first, last, last - first + 1)
            if any(known.get(log.block_number, log.block_hash) != log.block_hash for log in logs):
                raise Inconsistent("the chain changed while its logs were read; try again")
            transfers = self._in_their_blocks(node, logs)
            with self._moving(position) as tx:
                store.add_transfers(tx, transfers)
                store.move(tx, self._chain.chain_id, position.read_number, last, self._clock.now())
            position = Position(position.read_number, last, hash=position.hash)
        return position

    def _logs(self, node: Node, first: int, most: int, receiver: str = "") -> tuple[list[Log], int]:
        """The tokens' transfers from that block on, and up to which: fewer where the node refuses so many at once."""
        contracts = list(self._chain.contracts)
        while True:
            last = min(most, first + self._range - 1)
            try:
                with self._asking_less():
                    logs = node.logs(contracts, first, last, receiver) if contracts else []
            except Refused:
                if last == first:
                    raise
                self._range = (last - first + 1) // 2
                _log.info("chain_range_halved", chain=self._chain.name, blocks=self._range)
            else:
                self._range = min(self._range + max(self._range // 8, 1), self._chain.block_range)
                return [log for log in logs if log.contract in self._chain.contracts], last

    @contextmanager
    def _asking_less(self) -> Iterator[None]:
        """What a node does not answer at all may have been too much for it: the next time it is asked about less."""
        try:
            yield
        except (Refused, Inconsistent):
            raise
        except Unavailable:
            self._range = max(self._range // 2, 1)
            raise

    def _in_their_blocks(self, node: Node, logs: Sequence[Log]) -> list[Transfer]:
        known = store.addresses_of_anyone(self._db, {log.receiver for log in logs})
        ours = [log for log in logs if log.receiver in known]
        with_logs = sorted({log.block_number for log in ours})
        return self._of_tokens(ours, {block.number: block for block in node.blocks(with_logs)})

    def _of_tokens(self, logs: Sequence[Log], blocks: dict[int, Block]) -> list[Transfer]:
        known = store.addresses_of_anyone(self._db, {log.receiver for log in logs})
        hashes = {number: block.hash for number, block in blocks.items()}
        if any(log.receiver in known and hashes.get(log.block_number) != log.block_hash for log in logs):
            raise Inconsistent("the chain changed while its logs were read; try again")
        found = [
            self._valuation.transfer(
                blocks[log.block_number], log.transaction_hash, str(log.index), known[log.receiver],
                self._chain.contracts[log.contract], log.amount,
            )
            for log in logs
            if log.receiver in known
        ]  # fmt: skip
        return [one for one in found if one]

    def _of_native(self, node: Node, coin: Coin, blocks: Sequence[Block]) -> list[Transfer]:
        receivers = {one.receiver for block in blocks for one in block.transactions}
        known = store.addresses_of_anyone(self._db, receivers)
        ours = [(block, one) for block in blocks for one in block.transactions if one.receiver in known]
        found = []
        for (block, one), receipt in zip(ours, node.receipts([one.hash for _, one in ours]), strict=True):
            if receipt is None or receipt.block_hash != block.hash:
                raise Inconsistent("the chain changed while a transaction was read; try again")
            if receipt.is_successful:
                found.append(self._valuation.transfer(block, one.hash, "native", known[one.receiver], coin, one.amount))
        return [one for one in found if one]

    def _book(self, position: Position) -> None:
        """Books what is stored and not booked to the end; one that fails does not stop the others."""
        after = ""
        while found := store.open_of_anyone(self._db, self._chain.chain_id, after, _BATCH):
            after = found[-1].key
            for one in sorted(found, key=lambda one: one.state is not Stage.ORPHANED):
                if self._is_due(one, position):
                    try:
                        self._book_one(one.key)
                    except Unavailable:
                        raise
                    except AppError as error:
                        _log.warning("crypto_transfer_waits", key=one.key, error=error.message)
                    except Exception:  # noqa: BLE001 - it is tried again with the next look
                        _log.error("crypto_transfer_failed", key=one.key, exc_info=True)

    def _is_due(self, one: Transfer, position: Position) -> bool:
        """Whether there is more to book; of what is shown already only every tenth part of the way is."""
        if one.state is not Stage.SEEN or one.block_number <= position.confirmed_number:
            return True
        further = position.read_number - one.block_number + 1 - one.shown_confirmations
        return abs(further) >= max(1, self._chain.confirmations // 10)

    def _book_one(self, key: str) -> None:
        with self._db.transaction() as tx:
            one = store.lock_of_anyone(tx, key)
            position = store.position(tx, self._chain.chain_id)
            if one is None or position is None or one.state in (Stage.CREDITED, Stage.FORGOTTEN):
                return
            if one.state is Stage.ORPHANED:
                self._bookings.reverse_in(tx, NAME, key)
                store.save(tx, key, Stage.FORGOTTEN, 0)
                return
            is_final = one.block_number <= position.confirmed_number
            confirmations = max(position.read_number - one.block_number + 1, 1)
            arrival = self._arrival(one, confirmations, is_final=is_final)
            if not arrival.amount_micros:
                store.save(tx, key, Stage.CREDITED, confirmations)
                return
            report = Report(one.address, State.PROCESSING, [arrival])
            if self._bookings.settle_in(tx, one.payment_id, NAME, report) is None and is_final:
                self._bookings.suspend_in(tx, NAME, arrival)
            store.save(tx, key, Stage.CREDITED if is_final else Stage.SEEN, confirmations)

    def _arrival(self, one: Transfer, confirmations: int, *, is_final: bool) -> IncomingFunds:
        chain = {
            "chain_id": one.chain_id,
            "transaction_hash": one.transaction_hash,
            "block_number": one.block_number,
            "confirmations": confirmations,
            "required_confirmations": self._chain.confirmations,
        }
        return IncomingFunds(
            key=one.key,
            # The release before has stored fractions.
            amount_micros=floor_to_minor(one.amount_micros, one.currency_code),
            currency_code=one.currency_code,
            is_final=is_final,
            asset=one.coin,
            asset_amount=one.amount,
            rate=one.rate,
            detail={"chain": chain},
        )

    @contextmanager
    def _moving(self, position: Position) -> Iterator[Transaction]:
        """A transaction on the locked chain, which is where we believe it to be; ABORTED where another one moved it."""
        with self._db.transaction() as tx:
            if store.lock_position(tx, self._chain.chain_id) != position:
                raise Aborted("another watcher has read the chain in the meantime; try again")
            yield tx
