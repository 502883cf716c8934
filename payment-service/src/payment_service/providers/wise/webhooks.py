"""Wise's webhooks, and the statement that they announce.

A webhook only reports that a balance has changed; the statement shows the sender, the amount and the text. So each
webhook causes the statement to be read and its lines to be booked, which is correct even if webhooks arrive out of
order, twice or never. A movement's id is the statement's reference number.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from typing_extensions import override

from adlib.clock import Clock
from adlib.db import Database
from payment_service.http_responses import json_object
from payment_service.providers.model import (
    PayoutReport,
    ProviderEvent,
    ProviderUpdate,
    RefundReport,
    ReversalReport,
    SentRefund,
    SignatureInvalid,
)
from payment_service.providers.protocol import Header, ListsMissedEvents, ReadsWebhooks, SendsRefunds
from payment_service.providers.wise import store
from payment_service.providers.wise.client import WiseClient
from payment_service.providers.wise.deposits import WiseDeposits
from payment_service.providers.wise.messages import (
    BALANCE_EVENTS,
    BALANCE_UPDATE,
    TRANSFER_EVENT,
    Json,
    balance_change,
    balance_event,
    inner,
)
from payment_service.providers.wise.model import (
    MAX_STATEMENT_INTERVAL,
    OWN_TRANSFER_PREFIX,
    RETURNED_STATES,
    STATEMENT_MARGIN,
    StatementLine,
    reversal_report,
    statement_intervals,
    transfer_status,
    unique_lines,
)

_OWN_TRANSFER = re.compile(f"{OWN_TRANSFER_PREFIX}([1-9][0-9]{{0,17}})")


class TransferUpdates:
    """Reports on the profile's own transfers: payouts, and refunds if deposits are taken."""

    def __init__(self, client: WiseClient, refunds: SendsRefunds, db: Database, clock: Clock) -> None:
        self._client = client
        self._refunds = refunds
        self._db = db
        self._clock = clock

    def updates_from(self, transfer_id: str, event_state: str = "") -> Sequence[ProviderUpdate]:
        """The status of a payout's or refund's transfer; `event_state` is the state in an event.

        The transfer is fetched if the returned amount matters, or the event may be older than the stored status.
        """
        is_unclear = event_state in ("", "bounced_back", *RETURNED_STATES)
        refund = store.refund_any_tenant(self._db, transfer_id)
        if refund and (is_unclear or refund.is_in_doubt):
            sent = SentRefund(refund.refund_id, refund.payment_id, transfer_id, refund.amount_micros)
            return [self._refunds.look_up_refund(sent)]
        if event_state and event_state not in RETURNED_STATES:
            return [PayoutReport(transfer_id, transfer_status(event_state))]
        transfer = self._client.transfer(transfer_id) if store.is_payout_any_tenant(self._db, transfer_id) else None
        if transfer is None:
            return []
        return [PayoutReport(transfer_id, self._client.transfer_status(transfer, self._clock.now()))]

    def returned_transfer_id(self, line: StatementLine) -> str | None:
        """The payout's or refund's transfer whose money the line returns; None if it returns none."""
        own = _OWN_TRANSFER.fullmatch(line.reference_number)
        if not own or not line.is_credit or line.kind == "DEPOSIT":
            return None
        transfer_id = own[1]
        is_known = store.refund_any_tenant(self._db, transfer_id) or store.is_payout_any_tenant(self._db, transfer_id)
        return transfer_id if is_known else None


class StatementUpdates(ListsMissedEvents):
    """Reads movements of the accounts that deposits arrive on."""

    def __init__(
        self,
        client: WiseClient,
        currencies: Sequence[str],
        deposits: WiseDeposits,
        transfers: TransferUpdates,
        clock: Clock,
    ) -> None:
        self._client = client
        self._currencies = currencies
        self._deposits = deposits
        self._transfers = transfers
        self._clock = clock

    def updates_from(self, data: Json) -> Sequence[ProviderUpdate]:
        """The updates of the line that the event is about; none while the statement does not have it.

        Events and statements name a movement differently, so it is matched by the fields that both have. If two
        lines look the same, either is used: each is booked once, and `missed_events` finds the other.
        """
        change = balance_change(data)
        if change.currency_code not in self._currencies:
            return []
        now = self._clock.now()
        # The interval ends now, because the credit may have been recalled since.
        since = max(change.at - STATEMENT_MARGIN, now - MAX_STATEMENT_INTERVAL)
        lines = self._client.statement(change.currency_code, since, now, change.balance_id)
        line = min(filter(change.may_be, lines), default=None, key=change.distance)
        return self._line_updates(line, lines) if line else []

    @override
    def missed_events(self, since: datetime) -> Iterable[ProviderEvent]:
        """Every line of every currency's statement, each as the event that its webhook would have reported."""
        events: list[ProviderEvent] = []
        for currency_code in self._currencies:
            intervals = statement_intervals(since - STATEMENT_MARGIN, self._clock.now())
            lines = unique_lines(
                [line for interval in intervals for line in self._client.statement(currency_code, *interval)]
            )
            events += [event for line in lines if (event := self._event(line, lines))]
        return sorted(events, key=lambda event: event.at or since)

    def _event(self, line: StatementLine, lines: Sequence[StatementLine]) -> ProviderEvent | None:
        updates = self._line_updates(line, lines)
        if not updates:
            return None
        first = updates[0]
        # Several lines with the same number may report these, so the number does not identify the event.
        is_partial = isinstance(first, RefundReport | PayoutReport) or (
            isinstance(first, ReversalReport) and first.recall is not None
        )
        event_id = f"{line.key if is_partial else line.reference_number}/{line.direction}"
        body = balance_event(line, self._client.profile_id)
        return ProviderEvent(event_id, BALANCE_UPDATE, updates, line.at, body)

    def _line_updates(self, line: StatementLine, lines: Sequence[StatementLine]) -> Sequence[ProviderUpdate]:
        """The updates that a line causes; `lines` are those around it."""
        if not line.is_credit:
            return [reversal_report(line, lines)]
        if transfer_id := self._transfers.returned_transfer_id(line):
            return self._transfers.updates_from(transfer_id)
        update = self._deposits.update_from(line, lines)
        return [update] if update else []


class WiseWebhooks(ReadsWebhooks):
    """Verifies and parses webhooks of one profile."""

    def __init__(
        self, profile_id: int, key: RSAPublicKey, transfers: TransferUpdates, statement: StatementUpdates
    ) -> None:
        self._profile_id = profile_id
        self._key = key
        self._transfers = transfers
        self._statement = statement

    @override
    def verify(self, body: bytes, header: Header) -> None:
        try:
            signature = base64.b64decode(header("x-signature-sha256"), validate=True)
            self._key.verify(signature, body, padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError) as error:
            raise SignatureInvalid("X-Signature-SHA256") from error

    @override
    def parse(self, body: bytes) -> ProviderEvent:
        """The event's id is the body's hash, since Wise does not sign the delivery's id.

        UNAVAILABLE if the statement cannot be read: Wise sends the webhook again, and `missed_events` finds the line.
        """
        found = json_object(body, parse_float=Decimal)
        kind, data = str(found.get("event_type") or ""), inner(found, "data")
        event_id, resource = hashlib.sha256(body).hexdigest(), inner(data, "resource")
        # Wise signs the webhooks of all its customers with one key.
        if resource.get("profile_id") != self._profile_id:
            return ProviderEvent(event_id, kind)
        return ProviderEvent(event_id, kind, self._updates(kind, data, str(resource.get("id"))))

    def _updates(self, kind: str, data: Json, resource_id: str) -> Sequence[ProviderUpdate]:
        if kind == TRANSFER_EVENT:
            return self._transfers.updates_from(resource_id, str(data.get("current_state")))
        if kind in BALANCE_EVENTS:
            return self._statement.updates_from(data)
        return []


class PayoutWebhooks(ReadsWebhooks):
    """Ignores everything but payouts, for a profile that sends payouts and accepts no deposits."""

    def __init__(self, webhooks: ReadsWebhooks) -> None:
        self._webhooks = webhooks

    @override
    def verify(self, body: bytes, header: Header) -> None:
        self._webhooks.verify(body, header)

    @override
    def parse(self, body: bytes) -> ProviderEvent:
        event = self._webhooks.parse(body)
        return replace(event, updates=[one for one in event.updates or () if isinstance(one, PayoutReport)])
