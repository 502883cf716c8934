"""The background task that follows a chain: it reads blocks, confirms them, and books their transfers.

Reading and booking are separate steps, so that a crash between them loses nothing and locks are taken in one order.
"""

import random
import threading
from functools import partial

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import AppError, Unavailable
from adlib.telemetry import logger
from payment_service.providers.crypto.addresses.model import Address
from payment_service.providers.crypto.chain import store
from payment_service.providers.crypto.chain.service import ChainReader
from payment_service.providers.crypto.client import Node
from payment_service.providers.crypto.confirmations.service import Confirmations
from payment_service.providers.crypto.model import Chain
from payment_service.providers.crypto.transfers.service import TransferBooker
from payment_service.providers.crypto.valuation.service import Rates, Valuation
from payment_service.providers.protocol import BooksFunds

_POLL_TIMEOUT_S = 60.0
_MAX_PAUSE_S = 60.0
_log = logger(__name__)


class ChainWatcher:
    """Follows one chain. Any number of processes may run one; only one at a time polls."""

    def __init__(self, chain: Chain, node: Node, db: Database, booking: BooksFunds, rates: Rates, clock: Clock) -> None:
        self._chain = chain
        self._node = node
        self._db = db
        self._reader = ChainReader(chain, db, Valuation(chain, rates, clock), clock)
        self._confirmations = Confirmations(chain, db, self._reader, clock)
        self._booker = TransferBooker(chain, db, booking, partial(store.position, chain_id=chain.chain_id))
        self._stop = threading.Event()

    def wait(self, seconds: float) -> None:
        """Waits; returns at once when the process stops."""
        self._stop.wait(seconds)

    def run(self, stop: threading.Event) -> None:
        """Polls until `stop` is set."""
        self._stop = stop
        failures = 0
        while not stop.is_set():
            try:
                self.poll(_POLL_TIMEOUT_S)
                failures = 0
            except AppError as error:
                failures += 1
                _log.warning("chain_not_read", chain=self._chain.name, failures=failures, error=error.message)
            except Exception:  # noqa: BLE001 - one failure must not end the task
                failures += 1
                _log.error("chain_watcher_failed", chain=self._chain.name, exc_info=True)
            pause_s = min(self._chain.poll_s * 2 ** min(failures, 10), _MAX_PAUSE_S)
            # Jitter, so that processes do not all retry a node at the moment when it recovers.
            stop.wait(pause_s * random.uniform(0.5, 1.0) if failures else pause_s)  # noqa: S311 - a pause

    def poll(self, seconds: float) -> bool:
        """Reads and books new blocks for at most `seconds`; False if another process is polling.

        UNAVAILABLE if the node does not answer or the chain is halted.
        """
        with self._db.advisory_lock(f"crypto-chain-{self._chain.chain_id}") as has_lock:
            if has_lock:
                try:
                    self._poll(self._node.within(seconds))
                except Unavailable as error:
                    with self._db.transaction() as tx:
                        store.save_fault(tx, self._chain.chain_id, error.message)
                    raise
            return has_lock

    def search(self, address: Address, seconds: float) -> bool:
        """Searches confirmed blocks for missed token transfers to the address, and books them.

        False if the search did not finish. UNAVAILABLE.
        """
        if not self._chain.contracts:
            return True
        node, position = self._node.within(seconds), store.position(self._db, self._chain.chain_id)
        if position is None or position.halted_reason or not node.has_time:
            return False
        try:
            _, block = node.head_and_block(position.read_number)
            # A node that is behind or on a fork would show no transfers.
            if block is None or block.hash != position.hash:
                return False
            return self._confirmations.search(node, address, position, self._booker.book_all, self._stop.is_set)
        except Unavailable:
            if node.has_time:
                raise
            return False

    def _poll(self, node: Node) -> None:
        position = store.position(self._db, self._chain.chain_id) or self._reader.start(node)
        if position.halted_reason:
            _log.error("chain_halted", chain=self._chain.name, reason=position.halted_reason)
            raise Unavailable(f"{self._chain.name} is being looked into by staff: {position.halted_reason}")
        try:
            head, last = node.head_and_block(position.read_number)
            if last:
                self._reader.record_newest(last)
            position = self._confirmations.verify(node, position, head, last)
            while position.read_number < head and node.has_time and not self._stop.is_set():
                position = self._reader.read(node, position, head)
                position = self._confirmations.confirm(node, position, head)
                self._booker.book_all(position)
            position = self._confirmations.confirm(node, position, head)
            self._reader.save_progress(position, head)
        finally:
            # Booking does not need the node.
            self._booker.book_all(position)
