"""Stablecoins and native coins on EVM chains, each payment to an address of its own."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import InvalidArgument, Unavailable
from adlib.rpc import Runnable
from payment_service.payments.model import Payment, Report, State
from payment_service.providers.crypto import store
from payment_service.providers.crypto.addresses import Addresses, checked
from payment_service.providers.crypto.model import (
    AddressInvalid,
    Chain,
    ChainNotAvailable,
    Coin,
    Progress,
    needed,
    worth_micros,
)
from payment_service.providers.crypto.node import Node, Receipt
from payment_service.providers.crypto.rates import Rates
from payment_service.providers.crypto.store import Address
from payment_service.providers.crypto.watcher import HISTORY, NAME, Watcher
from payment_service.providers.model import Outage, ProviderRejected, ProviderUnavailable, RefundNotSeen
from payment_service.providers.protocol import Bookings, Event, Header, Outgoing, RefundReport, SeenRefund, SentRefund

# What a caller is held at most; the gateway gives up after 10.
_ANSWER_WITHIN_S = 7.0
_TURN_S = 0.1
_HASH = re.compile(r"0x[0-9a-f]{64}")


class _AnotherRefunds(RefundNotSeen):
    def __init__(self) -> None:
        super().__init__("sentAs is a transaction that another refund was made with; each needs one of its own")


class NoWebhooks(InvalidArgument):
    """Nobody tells us of a chain: we read it."""

    reason = ErrorReason.SIGNATURE_INVALID

    def __init__(self) -> None:
        super().__init__("there are no webhooks of chains")


class Crypto:
    """The chains that are configured. Opening a payment asks none of their nodes."""

    is_watched = True
    takes_transfers = True
    # A refund is final once its block is as deep as a reorganization that the watcher follows; at the latest then.
    refunds_followed_for = timedelta(days=7)
    refunds_asked_after = timedelta(0)

    def __init__(self, db: Database, addresses: Addresses, chains: Sequence[Chain], rates: Rates, clock: Clock) -> None:
        self._db = db
        self._addresses = addresses
        self._chains = {chain.chain_id: chain for chain in chains}
        self._nodes = {chain.chain_id: Node(chain.rpc_url, chain.chain_id) for chain in chains}
        self._rates = rates
        self._clock = clock
        self._watched_since: datetime | None = None
        self._watchers: Mapping[int, Watcher] = {}

    def check(self, choice: Mapping[str, Any], currency_code: str) -> Mapping[str, Any]:
        """The chain, the coin and the address for refunds; the first of each where none is chosen.

        CHAIN_NOT_AVAILABLE, TOKEN_NOT_AVAILABLE, ADDRESS_INVALID, ADDRESS_CHECKSUM_INVALID, CURRENCY_UNSUPPORTED.
        """
        chain = self._chain(int(choice.get("chain_id", 0)))
        coin = chain.coin(str(choice.get("token", "")))
        self._rates.rate(coin, currency_code)
        refund_address = str(choice.get("refund_address", ""))
        if refund_address:
            refund_address = checked(refund_address)
            if refund_address.lower() in chain.contracts:
                raise AddressInvalid("is a token's contract; what is sent there is lost")
        return {"chain_id": chain.chain_id, "token": coin.symbol, "refund_address": refund_address}

    def outage(self, choice: Mapping[str, Any]) -> Outage | None:
        """That the chain is halted, not read, or that its node lags behind, as the watchers of all processes know."""
        chain_id = int(choice.get("chain_id", 0))
        if chain_id and chain_id not in self._chains:
            return Outage(f"chain {chain_id} is not watched any more", metadata={"chainId": chain_id})
        chain = self._chain(chain_id)
        now, position = self._clock.now(), store.position(self._db, chain.chain_id)
        since = self._watched_since or now
        if position is None:
            progress = Progress(since, fault="it was never read")
        else:
            progress = Progress(position.current_at or since, position.head_at, position.halted_reason, position.fault)
        return progress.outage(chain, now)

    def recheck(self, choice: Mapping[str, Any]) -> Outage | None:
        """The same: the watchers find out by themselves when it is over."""
        return self.outage(choice)

    def open(self, payment: Payment) -> Report:
        """Gives the payment its address and its rate, once; PROVIDER_UNAVAILABLE."""
        chain, coin = self._choice(payment)
        organization_id, now = payment.organization_id, self._clock.now()
        address = store.get_address(self._db, organization_id, payment.id)
        if address is None:
            outage = self.outage(payment.choice)
            if outage and outage.is_lasting:
                raise ProviderUnavailable(NAME, outage)
            number, position = store.next_number(self._db), store.position(self._db, chain.chain_id)
            new = Address(
                payment_id=payment.id,
                organization_id=organization_id,
                number=number,
                address=self._addresses.at(number).lower(),
                chain_id=chain.chain_id,
                coin=coin.symbol,
                currency_code=payment.currency_code,
                rate=self._rates.rate(coin, payment.currency_code),
                expires_at=now + coin.valid_for,
                created_at=now,
                made_number=position.read_number if position else None,
            )
            with self._db.transaction() as tx:
                address = store.add_address(tx, new)
        return self._report(address, State.PENDING, self._instructions(payment, address))

    def look_up(self, payment: Payment) -> Report:
        """Reads the payment's chain up to its head, unless somebody is at it, and what it was sent before once more.

        How it stands then; UNAVAILABLE.
        """
        address = self._address(payment)
        end = time.monotonic() + _ANSWER_WITHIN_S
        watcher = self._watchers.get(address.chain_id)
        while watcher and not watcher.look(end - time.monotonic()) and time.monotonic() + _TURN_S < end:
            watcher.pause(_TURN_S)
        if watcher:
            watcher.search(address, end - time.monotonic())
        return self._report(address, self._state(payment, State.PENDING))

    def close(self, payment: Payment) -> Report:
        """Waits no longer, unless something was sent that lacks confirmations, or what was sent is still searched for.

        Later money is credited all the same. UNAVAILABLE.
        """
        address = self._address(payment)
        watcher = self._watchers.get(address.chain_id)
        has_ended = watcher is None or watcher.search(address, _ANSWER_WITHIN_S)
        return self._report(address, self._state(payment, State.EXPIRED if has_ended else State.PENDING))

    def refund(self, payment: Payment, outgoing: Outgoing) -> RefundReport:
        """Checks that staff sent the coins back, to the customer's address; REFUND_NOT_SEEN, PROVIDER_REJECTED."""
        seen = self._seen(payment, outgoing.amount_micros, outgoing.sent_as)
        with self._db.transaction() as tx:
            self.claim_refund(tx, outgoing.refund_id, seen)
        return self._refund_report(
            payment, SentRefund(outgoing.refund_id, seen.external_id, outgoing.amount_micros), "SUCCEEDED"
        )

    def check_refund(self, payment: Payment, amount_micros: int, sent_as: str) -> SeenRefund:
        """The same, of a transaction that no refund has; REFUND_NOT_SEEN, PROVIDER_REJECTED, UNAVAILABLE."""
        seen = self._seen(payment, amount_micros, sent_as)
        if store.is_claimed(self._db, *_transaction_of(seen.external_id)):
            raise _AnotherRefunds
        return seen

    def claim_refund(self, tx: Transaction, refund_id: UUID, seen: SeenRefund) -> None:
        """Makes the transaction this refund's; REFUND_NOT_SEEN where it is another's."""
        if not store.claim(tx, *_transaction_of(seen.external_id), refund_id, seen.block_number):
            raise _AnotherRefunds

    def look_up_refund(self, payment: Payment, sent: SentRefund) -> RefundReport:
        """Whether the refund's transaction is still on the chain, and how deep; UNAVAILABLE."""
        chain_id, hash = _transaction_of(sent.external_id)
        chain = self._chain(chain_id)
        node = self._nodes[chain_id].within(_ANSWER_WITHIN_S)
        (receipt,) = node.receipts([hash])
        if receipt is None:
            return self._vanished(node, chain, payment, sent)
        head, block = node.head_and(receipt.block_number)
        if block is None or block.hash != receipt.block_hash:
            raise Unavailable("the chain changed while the transaction was looked for; try again")
        if not receipt.is_successful:
            return self._refund_report(payment, sent, "FAILED", "the chain was reorganized, and the transaction failed")
        confirmations = head - receipt.block_number + 1
        if confirmations < chain.confirmations:
            why = f"the chain was reorganized; {confirmations} of {chain.confirmations} confirmations"
            return self._refund_report(payment, sent, "PENDING", pending_reason=why)
        return self._refund_report(payment, sent, "SUCCEEDED", is_final=confirmations >= HISTORY)

    def _vanished(self, node: Node, chain: Chain, payment: Payment, sent: SentRefund) -> RefundReport:
        """The refund has come back once the chain without it is as deep as it was with it."""
        chain_id, hash = _transaction_of(sent.external_id)
        position = store.position(self._db, chain_id)
        # A node that is behind knows nothing of it either.
        deep_enough = store.refund_block(self._db, chain_id, hash) + chain.confirmations - 1
        head, _ = node.head_and(0)
        if head < max(deep_enough, position.read_number if position else 0):
            raise Unavailable(f"the node of {chain.name} is behind, or the chain is shorter than it was; try again")
        if node.transaction(hash) is not None:
            why = "the chain was reorganized; the transaction waits to be in a block again"
            return self._refund_report(payment, sent, "PENDING", pending_reason=why)
        return self._refund_report(
            payment, sent, "FAILED", "the chain was reorganized, and the transaction is no longer on it"
        )

    def _seen(self, payment: Payment, amount_micros: int, sent_as: str) -> SeenRefund:
        chain, coin = self._choice(payment)
        address, to = self._address(payment), str(payment.choice.get("refund_address", ""))
        if not to:
            raise ProviderRejected("the customer has named no address for refunds")
        hash = sent_as.strip().lower()
        if not _HASH.fullmatch(hash):
            raise RefundNotSeen("sentAs must be the transaction's hash: 0x and 64 hexadecimal digits")
        sent, block_number = self._sent_back(chain, coin, hash, to.lower(), payment.created_at)
        beyond_micros = worth_micros(sent, coin, address.rate) - amount_micros
        # What was sent beyond the refund would be in no book; what rounding makes of a cent may be.
        if beyond_micros < 0 or beyond_micros >= chain.dust_micros:
            exactly = needed(amount_micros, coin, address.rate)
            raise RefundNotSeen(
                f"sentAs moved {sent} of {coin.symbol}'s smallest unit to {to}; the refund is worth {exactly} of them"
            )
        return SeenRefund(f"{chain.chain_id}:{hash}", amount_micros, block_number)

    @staticmethod
    def _refund_report(
        payment: Payment, sent: SentRefund, state: str, failure_message: str = "", *, pending_reason: str = "",
        is_final: bool = False,
    ) -> RefundReport:  # fmt: skip
        return RefundReport(
            external_id=sent.external_id,
            refund_id=sent.refund_id,
            payment_id=payment.id,
            amount_micros=sent.amount_micros,
            state=state,
            failure_message=failure_message,
            pending_reason=pending_reason,
            is_current=True,
            is_final=is_final,
        )

    def event(self, body: bytes, header: Header) -> Event:
        """There are none; SIGNATURE_INVALID."""
        raise NoWebhooks

    def read(self, body: bytes) -> Event:
        """There are none; SIGNATURE_INVALID."""
        raise NoWebhooks

    def background(self, bookings: Bookings) -> Sequence[Runnable]:
        """A watcher a chain."""
        self._watched_since = self._clock.now()
        self._watchers = {
            chain.chain_id: Watcher(
                chain, self._nodes[chain.chain_id], self._db, bookings, self._rates, self._clock
            )
            for chain in self._chains.values()
        }  # fmt: skip
        return list(self._watchers.values())

    def missed(self, since: datetime) -> Iterable[Event]:
        """Nothing: a watcher goes on where it was."""
        return ()

    def _chain(self, chain_id: int) -> Chain:
        """The chain, or the first one for 0; CHAIN_NOT_AVAILABLE."""
        if chain_id and chain_id not in self._chains:
            known = ", ".join(f"{chain.chain_id} ({chain.name})" for chain in self._chains.values())
            raise ChainNotAvailable(chain_id, known)
        return self._chains[chain_id] if chain_id else next(iter(self._chains.values()))

    def _choice(self, payment: Payment) -> tuple[Chain, Coin]:
        chain = self._chain(int(payment.choice["chain_id"]))
        return chain, chain.coin(payment.choice["token"])

    def _address(self, payment: Payment) -> Address:
        address = store.get_address(self._db, payment.organization_id, payment.id)
        if address is None:
            raise ProviderRejected("the payment has no address")
        return address

    def _state(self, payment: Payment, otherwise: State) -> State:
        waits = store.has_unconfirmed(self._db, payment.organization_id, payment.id)
        return State.PROCESSING if waits else otherwise

    def _report(self, address: Address, state: State, instructions: Mapping[str, Any] | None = None) -> Report:
        return Report(address.address, state, instructions=instructions or {}, expires_at=address.expires_at)

    def _instructions(self, payment: Payment, address: Address) -> Mapping[str, Any]:
        chain, coin = self._choice(payment)
        return {
            "chain_id": chain.chain_id,
            "token": coin.symbol,
            "token_contract": coin.contract,
            "address": checked(address.address),
            "amount": str(needed(payment.amount_micros, coin, address.rate)),
            "decimals": coin.decimals,
            "rate": f"{address.rate:f}",
            "expires_time": address.expires_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "required_confirmations": chain.confirmations,
        }

    def _sent_back(self, chain: Chain, coin: Coin, hash: str, to: str, since: datetime) -> tuple[int, int]:
        """How much of the coin the transaction moved to the address, confirmed, and in which block; REFUND_NOT_SEEN."""
        node = self._nodes[chain.chain_id].within(_ANSWER_WITHIN_S)
        (receipt,) = node.receipts([hash])
        if receipt is None:
            raise RefundNotSeen(f"sentAs is no transaction on {chain.name}, or in no block yet")
        head, block = node.head_and(receipt.block_number)
        if block is None or block.hash != receipt.block_hash:
            raise Unavailable("the chain changed while the transaction was looked for; try again")
        if not receipt.is_successful:
            raise RefundNotSeen("sentAs is a transaction that failed; nothing was sent by it")
        if datetime.fromtimestamp(block.timestamp, UTC) < since:
            raise RefundNotSeen("sentAs is a transaction from before the payment")
        if (confirmations := head - receipt.block_number + 1) < chain.confirmations:
            raise RefundNotSeen(
                f"sentAs has {confirmations} of {chain.confirmations} confirmations; try again when it has them"
            )
        return _moved(node, receipt, coin, hash, to), receipt.block_number


def _moved(node: Node, receipt: Receipt, coin: Coin, hash: str, to: str) -> int:
    """How much of the coin a transaction moved to the address."""
    if coin.contract:
        own = (coin.contract.lower(), to)
        return sum(log.amount for log in receipt.transfers if (log.contract, log.receiver) == own)
    transaction = node.transaction(hash)
    return transaction.amount if transaction and transaction.receiver == to else 0


def _transaction_of(external_id: str) -> tuple[int, str]:
    """The chain and the hash in a refund's id."""
    chain_id, _, hash = external_id.partition(":")
    return int(chain_id), hash
