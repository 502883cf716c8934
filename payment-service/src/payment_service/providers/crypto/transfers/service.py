"""Books the stored transfers, each in a transaction of its own.

Each booking decides by the state that it reads under a lock, so a second watcher books nothing twice, and no transfer
that has been orphaned.
"""

from collections.abc import Callable

from adlib.db import Database, Session
from adlib.errors import AppError, Unavailable
from adlib.money import floor_to_minor
from adlib.telemetry import logger
from payment_service.payments.model import IncomingFunds, Report, State
from payment_service.providers.crypto.model import NAME, Chain, Position
from payment_service.providers.crypto.transfers import store
from payment_service.providers.crypto.transfers.model import Stage, Transfer
from payment_service.providers.protocol import BooksFunds

_MAX_BATCH = 200
_log = logger(__name__)


class TransferBooker:
    """Books one chain's transfers; `position` reads the chain's position."""

    def __init__(
        self, chain: Chain, db: Database, booking: BooksFunds, position: Callable[[Session], Position | None]
    ) -> None:
        self._chain = chain
        self._db = db
        self._booking = booking
        self._position = position

    def book_all(self, position: Position) -> None:
        """Books every transfer that is due; a failure of one does not stop the others. UNAVAILABLE."""
        after = ""
        while found := store.unbooked(self._db, self._chain.chain_id, after, _MAX_BATCH):
            after = found[-1].key
            for transfer in sorted(found, key=lambda one: one.state is not Stage.ORPHANED):
                if self._is_due(transfer, position):
                    self._book_or_log(transfer.key)

    def book(self, key: str) -> None:
        """Books the transfer with this key, as far as it is confirmed."""
        with self._db.transaction() as tx:
            transfer = store.lock(tx, key)
            position = self._position(tx)
            if transfer is None or position is None or transfer.state in (Stage.CREDITED, Stage.REVERSED):
                return
            if transfer.state is Stage.ORPHANED:
                self._booking.reverse_in(tx, NAME, key)
                store.save(tx, key, Stage.REVERSED, 0)
                return
            is_final = transfer.block_number <= position.confirmed_number
            confirmations = max(position.confirmations(transfer.block_number), 1)
            funds = self._incoming(transfer, confirmations, is_final=is_final)
            if not funds.amount_micros:
                store.save(tx, key, Stage.CREDITED, confirmations)
                return
            report = Report(transfer.address, State.PROCESSING, [funds])
            if self._booking.settle_in(tx, transfer.payment_id, NAME, report) is None and is_final:
                self._booking.suspend_in(tx, NAME, funds)
            store.save(tx, key, Stage.CREDITED if is_final else Stage.SEEN, confirmations)

    def _book_or_log(self, key: str) -> None:
        try:
            self.book(key)
        except Unavailable:
            raise
        except AppError as error:
            _log.warning("crypto_transfer_waits", key=key, error=error.message)
        except Exception:  # noqa: BLE001 - the next poll tries again
            _log.error("crypto_transfer_failed", key=key, exc_info=True)

    def _is_due(self, transfer: Transfer, position: Position) -> bool:
        """Whether there is something to book; a SEEN transfer is updated at every tenth of its confirmations."""
        if transfer.state is not Stage.SEEN or transfer.block_number <= position.confirmed_number:
            return True
        change = position.confirmations(transfer.block_number) - transfer.shown_confirmations
        return abs(change) >= max(1, self._chain.confirmations // 10)

    def _incoming(self, transfer: Transfer, confirmations: int, *, is_final: bool) -> IncomingFunds:
        chain = {
            "chain_id": transfer.chain_id,
            "transaction_hash": transfer.transaction_hash,
            "block_number": transfer.block_number,
            "confirmations": confirmations,
            "required_confirmations": self._chain.confirmations,
        }
        return IncomingFunds(
            key=transfer.key,
            # The previous release stored fractions of a minor unit.
            amount_micros=floor_to_minor(transfer.amount_micros, transfer.currency_code),
            currency_code=transfer.currency_code,
            is_final=is_final,
            asset=transfer.coin,
            asset_amount=transfer.amount,
            rate=transfer.rate,
            detail={"chain": chain},
        )
