"""Payments in coins, each to its own deposit address."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from typing_extensions import override

from adlib.clock import Clock
from adlib.db import Database
from adlib.rpc import Runnable
from payment_service.payments.model import Payment, Report, State
from payment_service.providers.crypto.addresses import store as addresses
from payment_service.providers.crypto.addresses.model import Address, Addresses, AddressInvalid, checked
from payment_service.providers.crypto.chain import store as chains
from payment_service.providers.crypto.client import Network
from payment_service.providers.crypto.model import NAME, Progress, amount_worth
from payment_service.providers.crypto.tasks import ChainWatcher
from payment_service.providers.crypto.transfers import store as transfers
from payment_service.providers.crypto.valuation.service import Rates
from payment_service.providers.model import Outage, ProviderRejected, ProviderUnavailable
from payment_service.providers.protocol import BooksFunds, RunsTasks, TakesPayments

# The gateway gives up after 10 s.
_DEADLINE_S = 7.0
_RETRY_PAUSE_S = 0.1


class CryptoDeposits(TakesPayments, RunsTasks):
    """Takes payments on the configured chains. Opening a payment calls none of their nodes."""

    is_polled = False
    accepts_transfers = True

    def __init__(self, network: Network, db: Database, derived: Addresses, rates: Rates, clock: Clock) -> None:
        self._network = network
        self._db = db
        self._derived = derived
        self._rates = rates
        self._clock = clock
        self._watched_since: datetime | None = None
        self._watchers: Mapping[int, ChainWatcher] = {}

    @override
    def validate(self, choice: Mapping[str, Any], currency_code: str) -> Mapping[str, Any]:
        """Uses the first chain and its first coin if none is chosen.

        CHAIN_NOT_AVAILABLE, TOKEN_NOT_AVAILABLE, ADDRESS_INVALID, ADDRESS_CHECKSUM_INVALID, CURRENCY_UNSUPPORTED.
        """
        chain = self._network.chain(int(choice.get("chain_id", 0)))
        coin = chain.coin(str(choice.get("token", "")))
        self._rates.rate(coin, currency_code)
        refund_address = str(choice.get("refund_address", ""))
        if refund_address:
            refund_address = checked(refund_address)
            if refund_address.lower() in chain.contracts:
                raise AddressInvalid("is a token's contract; what is sent there is lost")
        return {"chain_id": chain.chain_id, "token": coin.symbol, "refund_address": refund_address}

    @override
    def outage(self, choice: Mapping[str, Any]) -> Outage | None:
        """Reported for a chain that is halted or not read, or whose node lags behind, by the stored read progress."""
        chain_id = int(choice.get("chain_id", 0))
        if chain_id and not self._network.has(chain_id):
            return Outage(f"chain {chain_id} is not watched any more", metadata={"chainId": chain_id})
        chain = self._network.chain(chain_id)
        now, position = self._clock.now(), chains.position(self._db, chain.chain_id)
        since = self._watched_since or now
        if position is None:
            progress = Progress(since, fault="it was never read")
        else:
            progress = Progress(position.current_at or since, position.head_at, position.halted_reason, position.fault)
        return progress.outage(chain, now)

    @override
    def probe(self, choice: Mapping[str, Any]) -> Outage | None:
        """Calls no node: the watchers detect the end of an outage."""
        return self.outage(choice)

    @override
    def open(self, payment: Payment) -> Report:
        """Assigns an address and a rate to the payment, once; PROVIDER_UNAVAILABLE."""
        address = addresses.get(self._db, payment.organization_id, payment.id) or self._new_address(payment)
        return self._report(address, State.PENDING, self._instructions(payment, address))

    @override
    def look_up(self, payment: Payment) -> Report:
        """Reads the payment's chain up to its head, and searches for missed transfers.

        Waits instead while another process reads the chain.
        """
        address = self._address(payment)
        end = time.monotonic() + _DEADLINE_S
        watcher = self._watchers.get(address.chain_id)
        while watcher and not watcher.poll(end - time.monotonic()) and time.monotonic() + _RETRY_PAUSE_S < end:
            watcher.wait(_RETRY_PAUSE_S)
        if watcher:
            watcher.search(address, end - time.monotonic())
        return self._report(address, self._state(payment, State.PENDING))

    @override
    def close(self, payment: Payment) -> Report:
        """Closes the payment unless a transfer lacks confirmations or the search for missed transfers has not finished.

        Later transfers are still credited.
        """
        address = self._address(payment)
        watcher = self._watchers.get(address.chain_id)
        is_searched = watcher is None or watcher.search(address, _DEADLINE_S)
        return self._report(address, self._state(payment, State.EXPIRED if is_searched else State.PENDING))

    @override
    def tasks(self, booking: BooksFunds) -> Sequence[Runnable]:
        """One watcher per chain."""
        self._watched_since = self._clock.now()
        self._watchers = {
            chain.chain_id: ChainWatcher(
                chain, self._network.node(chain.chain_id), self._db, booking, self._rates, self._clock
            )
            for chain in self._network.chains
        }
        return list(self._watchers.values())

    def _new_address(self, payment: Payment) -> Address:
        outage = self.outage(payment.choice)
        if outage and outage.is_lasting:
            raise ProviderUnavailable(NAME, outage)
        chain, coin = self._network.chosen(payment)
        now, number = self._clock.now(), addresses.next_number(self._db)
        position = chains.position(self._db, chain.chain_id)
        address = Address(
            payment_id=payment.id,
            organization_id=payment.organization_id,
            number=number,
            address=self._derived.at(number).lower(),
            chain_id=chain.chain_id,
            coin=coin.symbol,
            currency_code=payment.currency_code,
            rate=self._rates.rate(coin, payment.currency_code),
            expires_at=now + coin.valid_for,
            created_at=now,
            made_number=position.read_number if position else None,
        )
        with self._db.transaction() as tx:
            return addresses.add(tx, address)

    def _address(self, payment: Payment) -> Address:
        address = addresses.get(self._db, payment.organization_id, payment.id)
        if address is None:
            raise ProviderRejected("the payment has no address")
        return address

    def _state(self, payment: Payment, otherwise: State) -> State:
        is_waiting = transfers.has_unconfirmed(self._db, payment.organization_id, payment.id)
        return State.PROCESSING if is_waiting else otherwise

    @staticmethod
    def _report(address: Address, state: State, instructions: Mapping[str, Any] | None = None) -> Report:
        return Report(address.address, state, instructions=instructions or {}, expires_at=address.expires_at)

    def _instructions(self, payment: Payment, address: Address) -> Mapping[str, Any]:
        chain, coin = self._network.chosen(payment)
        return {
            "chain_id": chain.chain_id,
            "token": coin.symbol,
            "token_contract": coin.contract,
            "address": checked(address.address),
            "amount": str(amount_worth(payment.amount_micros, coin, address.rate)),
            "decimals": coin.decimals,
            "rate": f"{address.rate:f}",
            "expires_time": address.expires_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "required_confirmations": chain.confirmations,
        }
