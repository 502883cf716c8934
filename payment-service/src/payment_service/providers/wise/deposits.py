"""Deposits by bank transfer into the profile's accounts.

A transfer is matched to its payment by a reference that the customer writes into it.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from adplatform.errors.v1.errors_pb2 import ErrorReason
from typing_extensions import override

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import InvalidArgument, Unavailable
from adlib.money import floor_to_minor
from payment_service.payments.model import IncomingFunds, Payment, Report, State
from payment_service.providers.model import Outage, PaymentUpdate, ProviderRejected, UnmatchedFunds
from payment_service.providers.protocol import TakesPayments
from payment_service.providers.wise import store
from payment_service.providers.wise.client import WiseClient
from payment_service.providers.wise.model import MAX_STATEMENT_INTERVAL, STATEMENT_MARGIN, StatementLine, recalls_of
from payment_service.providers.wise.references import model as reference

# Bank transfers take days, and so do customers.
EXPIRES_AFTER = timedelta(days=14)
# The interval of the statement that a probe reads.
_PROBE_INTERVAL = timedelta(minutes=1)
# 31^8 references exist, so that five collisions in a row mean a broken generator.
_MAX_REFERENCE_ATTEMPTS = 5


class CurrencyNotReceived(InvalidArgument):
    """The profile has no bank account in the currency."""

    reason = ErrorReason.CURRENCY_UNSUPPORTED

    def __init__(self, currency_code: str, known: Sequence[str]) -> None:
        super().__init__(
            f"bank transfers in {currency_code} cannot be received; use one of {', '.join(known)}",
            currencyCode=currency_code,
        )


class WiseDeposits(TakesPayments):
    """Takes payments by bank transfer in the `currencies` that the profile has accounts for."""

    is_polled = False
    accepts_transfers = True

    def __init__(self, client: WiseClient, currencies: Sequence[str], db: Database, clock: Clock) -> None:
        self._client = client
        self._currencies = currencies
        self._db = db
        self._clock = clock

    @override
    def validate(self, choice: Mapping[str, Any], currency_code: str) -> Mapping[str, Any]:
        if currency_code not in self._currencies:
            raise CurrencyNotReceived(currency_code, self._currencies)
        return {}

    @override
    def outage(self, choice: Mapping[str, Any]) -> Outage | None:
        reason = self._client.statement_health.reason
        return Outage(reason) if reason else None

    @override
    def probe(self, choice: Mapping[str, Any]) -> Outage | None:
        if self._client.statement_health.reason:
            now = self._clock.now()
            with suppress(Unavailable):
                self._client.statement(self._currencies[0], now - _PROBE_INTERVAL, now)
        return self.outage(choice)

    @override
    def open(self, payment: Payment) -> Report:
        account = self._client.account_instructions(payment.currency_code)
        if not account:
            raise ProviderRejected(f"there is no bank account for {payment.currency_code}")
        shown = reference.shown(self._reference(payment))
        return Report(
            shown,
            State.PENDING,
            instructions={**account, "reference": shown},
            expires_at=payment.created_at + EXPIRES_AFTER,
        )

    @override
    def look_up(self, payment: Payment) -> Report:
        since = payment.created_at - STATEMENT_MARGIN
        until = min(self._clock.now(), since + MAX_STATEMENT_INTERVAL)
        lines = self._client.statement(payment.currency_code, since, until)
        shown = payment.external_id or ""
        updates = [
            self.update_from(line, lines)
            for line in lines
            if line.is_credit and shown in map(reference.shown, reference.found(line.remittance_text))
        ]
        incoming = [
            funds
            for update in updates
            if isinstance(update, PaymentUpdate) and update.payment_id == payment.id
            for funds in update.report.incoming
        ]
        return Report(shown, State.PENDING, incoming)

    @override
    def close(self, payment: Payment) -> Report:
        """Reports the funds received so far; a later transfer is still credited."""
        report = self.look_up(payment)
        return Report(report.external_id, State.EXPIRED, report.incoming)

    def update_from(self, line: StatementLine, lines: Sequence[StatementLine]) -> PaymentUpdate | UnmatchedFunds | None:
        """The deposit of a credit line, with its recalls; None if the line is not a deposit or is recalled in full."""
        recalls = recalls_of(line, lines)
        amount_micros = floor_to_minor(line.amount_micros, line.currency_code)
        is_recalled = sum(recall.amount_micros for recall in recalls) >= line.amount_micros
        if line.kind != "DEPOSIT" or not amount_micros or is_recalled:
            return None
        funds = IncomingFunds(
            line.reference_number,
            amount_micros,
            line.currency_code,
            detail={"remittance_text": line.remittance_text, "sender_name": line.sender_name},
            recalls=recalls,
        )
        matches = {
            (payment_id, found)
            for found in reference.found(line.remittance_text)
            if (payment_id := store.payment_any_tenant(self._db, found))
        }
        if len(matches) != 1:
            return UnmatchedFunds(funds)
        ((payment_id, found),) = matches
        return PaymentUpdate(payment_id, Report(reference.shown(found), State.PENDING, [funds]))

    def _reference(self, payment: Payment) -> str:
        """The payment's stored reference: after a crash, the customer may have been shown it already."""
        for _ in range(_MAX_REFERENCE_ATTEMPTS):
            with self._db.transaction() as tx:
                store.add(tx, reference.new(), payment.id, payment.organization_id, self._clock.now())
                if stored := store.get(tx, payment.organization_id, payment.id):
                    return stored
        raise LookupError(f"{_MAX_REFERENCE_ATTEMPTS} new references in a row were taken")
