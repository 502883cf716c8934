"""Refunds that staff send by hand, by a transaction on the payment's chain."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

from typing_extensions import override

from adlib.db import Database, Transaction
from adlib.errors import Unavailable
from payment_service.payments.model import Payment
from payment_service.providers.crypto.addresses import store as addresses
from payment_service.providers.crypto.chain import store as chains
from payment_service.providers.crypto.client import Network, Node
from payment_service.providers.crypto.messages import Receipt
from payment_service.providers.crypto.model import MAX_REORGANIZATION_DEPTH, Chain, Coin, amount_worth, worth_micros
from payment_service.providers.crypto.transfers import store
from payment_service.providers.model import (
    ManualRefund,
    ProviderRejected,
    RefundNotSeen,
    RefundOrder,
    RefundReport,
    SentRefund,
)
from payment_service.providers.protocol import SendsRefunds, VerifiesManualRefunds

# The gateway gives up after 10 s.
_DEADLINE_S = 7.0
_HASH = re.compile(r"0x[0-9a-f]{64}")


class _TransactionClaimed(RefundNotSeen):
    def __init__(self) -> None:
        super().__init__("sentAs is a transaction that another refund was made with; each needs one of its own")


class CryptoRefunds(SendsRefunds, VerifiesManualRefunds):
    """Verifies and tracks transactions that staff sent."""

    # A refund is final once its block is 2,000 deep, and after this period at the latest.
    refund_poll_period = timedelta(days=7)
    first_refund_poll_after = timedelta(0)

    def __init__(self, network: Network, db: Database) -> None:
        self._network = network
        self._db = db

    @property
    @override
    def manual(self) -> VerifiesManualRefunds:
        return self

    @override
    def refund(self, payment: Payment, order: RefundOrder) -> RefundReport:
        found = self._find(payment, order.amount_micros, order.sent_as)
        with self._db.transaction() as tx:
            self.claim(tx, order.refund_id, found)
        sent = SentRefund(order.refund_id, payment.id, found.external_id, order.amount_micros)
        return _report(sent, "SUCCEEDED")

    @override
    def find(self, payment: Payment, amount_micros: int, sent_as: str) -> ManualRefund:
        found = self._find(payment, amount_micros, sent_as)
        if store.is_claimed(self._db, *_transaction_of(found.external_id)):
            raise _TransactionClaimed
        return found

    @override
    def claim(self, tx: Transaction, refund_id: UUID, manual: ManualRefund) -> None:
        if not store.claim(tx, *_transaction_of(manual.external_id), refund_id, manual.block_number):
            raise _TransactionClaimed

    @override
    def look_up_refund(self, sent: SentRefund) -> RefundReport:
        """Checks that the transaction is still on the chain, and how deep."""
        chain_id, hash = _transaction_of(sent.external_id)
        chain = self._network.chain(chain_id)
        node = self._network.node(chain_id).within(_DEADLINE_S)
        (receipt,) = node.receipts([hash])
        if receipt is None:
            return self._missing(node, chain, sent)
        head, block = node.head_and_block(receipt.block_number)
        if block is None or block.hash != receipt.block_hash:
            raise Unavailable("the chain changed while the transaction was looked up; try again")
        if not receipt.is_successful:
            return _report(sent, "FAILED", "the chain was reorganized, and the transaction failed")
        confirmations = head - receipt.block_number + 1
        if confirmations < chain.confirmations:
            why = f"the chain was reorganized; {confirmations} of {chain.confirmations} confirmations"
            return _report(sent, "PENDING", pending_reason=why)
        return _report(sent, "SUCCEEDED", is_final=confirmations >= MAX_REORGANIZATION_DEPTH)

    def _missing(self, node: Node, chain: Chain, sent: SentRefund) -> RefundReport:
        """The status of a refund in no block: FAILED once the chain is as long as when it was confirmed."""
        chain_id, hash = _transaction_of(sent.external_id)
        position = chains.position(self._db, chain_id)
        confirmed_at = store.refund_block(self._db, chain_id, hash) + chain.confirmations - 1
        head, _ = node.head_and_block(0)
        # A node that is behind does not have the transaction either.
        if head < max(confirmed_at, position.read_number if position else 0):
            raise Unavailable(f"the node of {chain.name} is behind, or the chain is shorter than it was; try again")
        if node.transaction(hash) is not None:
            why = "the chain was reorganized; the transaction waits to be in a block again"
            return _report(sent, "PENDING", pending_reason=why)
        return _report(sent, "FAILED", "the chain was reorganized, and the transaction is no longer on it")

    def _find(self, payment: Payment, amount_micros: int, sent_as: str) -> ManualRefund:
        chain, coin = self._network.chosen(payment)
        address = addresses.get(self._db, payment.organization_id, payment.id)
        to = str(payment.choice.get("refund_address", ""))
        if address is None:
            raise ProviderRejected("the payment has no address")
        if not to:
            raise ProviderRejected("the customer has named no address for refunds")
        hash = sent_as.strip().lower()
        if not _HASH.fullmatch(hash):
            raise RefundNotSeen("sentAs must be the transaction's hash: 0x and 64 hexadecimal digits")
        sent, block_number = self._confirmed_amount(chain, coin, hash, to.lower(), payment.created_at)
        excess_micros = worth_micros(sent, coin, address.rate) - amount_micros
        # An excess would be in no account; a rounding difference of a cent is accepted.
        if excess_micros < 0 or excess_micros >= chain.dust_micros:
            exactly = amount_worth(amount_micros, coin, address.rate)
            raise RefundNotSeen(
                f"sentAs moved {sent} of {coin.symbol}'s smallest unit to {to}; the refund is worth {exactly} of them"
            )
        return ManualRefund(f"{chain.chain_id}:{hash}", amount_micros, block_number)

    def _confirmed_amount(self, chain: Chain, coin: Coin, hash: str, to: str, since: datetime) -> tuple[int, int]:
        """The amount of the coin that a confirmed transaction sent to the address, and its block; REFUND_NOT_SEEN."""
        node = self._network.node(chain.chain_id).within(_DEADLINE_S)
        (receipt,) = node.receipts([hash])
        if receipt is None:
            raise RefundNotSeen(f"sentAs is not a transaction on {chain.name}, or is in no block yet")
        head, block = node.head_and_block(receipt.block_number)
        if block is None or block.hash != receipt.block_hash:
            raise Unavailable("the chain changed while the transaction was looked up; try again")
        if not receipt.is_successful:
            raise RefundNotSeen("sentAs is a transaction that failed; nothing was sent by it")
        if datetime.fromtimestamp(block.timestamp, UTC) < since:
            raise RefundNotSeen("sentAs is a transaction from before the payment")
        if (confirmations := head - receipt.block_number + 1) < chain.confirmations:
            raise RefundNotSeen(
                f"sentAs has {confirmations} of {chain.confirmations} confirmations; try again when it has them"
            )
        return _amount_sent(node, receipt, coin, hash, to), receipt.block_number


def _report(
    sent: SentRefund, state: str, failure_message: str = "", *, pending_reason: str = "", is_final: bool = False
) -> RefundReport:
    return RefundReport(
        external_id=sent.external_id,
        refund_id=sent.refund_id,
        payment_id=sent.payment_id,
        amount_micros=sent.amount_micros,
        state=state,
        failure_message=failure_message,
        pending_reason=pending_reason,
        is_current=True,
        is_final=is_final,
    )


def _amount_sent(node: Node, receipt: Receipt, coin: Coin, hash: str, to: str) -> int:
    """The amount of the coin that a transaction sent to the address, in the coin's smallest unit."""
    if coin.contract:
        own = (coin.contract.lower(), to)
        return sum(log.amount for log in receipt.transfers if (log.contract, log.receiver) == own)
    transaction = node.transaction(hash)
    return transaction.amount if transaction and transaction.receiver == to else 0


def _transaction_of(external_id: str) -> tuple[int, str]:
    """The chain's id and the transaction's hash in a refund's external id."""
    chain_id, _, hash = external_id.partition(":")
    return int(chain_id), hash
