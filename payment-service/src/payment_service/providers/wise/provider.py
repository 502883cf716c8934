"""Bank transfers into the platform's account at Wise.

A webhook only says that a balance has changed; who sent what with which text stands in the balance's statement. So a
webhook is a reason to read the statement, and what that says is booked: it is true whichever webhook came first, twice
or not at all. Money is known by the statement's reference number, whoever reads it.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import InvalidArgument, Unavailable
from adlib.money import floor_to_minor, to_decimal
from adlib.rpc import Runnable
from payment_service.payments import store as payments
from payment_service.payments.model import IncomingFunds, Payment, Recall, Report, State
from payment_service.payouts import wise as payouts
from payment_service.payouts.model import State as TransferState
from payment_service.providers.answers import json_object
from payment_service.providers.health import Health
from payment_service.providers.model import Outage, ProviderRejected, RefundNotSeen, SignatureInvalid
from payment_service.providers.protocol import (
    Bookings,
    Event,
    Header,
    Outgoing,
    PaymentUpdate,
    PayoutReport,
    ProviderUpdate,
    RefundReport,
    ReversalReport,
    SeenRefund,
    SentRefund,
    UnmatchedFunds,
)
from payment_service.providers.wise import reference, store
from payment_service.providers.wise.api import MARGIN, MOST_AT_ONCE, Line, WiseApi, intervals, micros

# A bank transfer may take some days, and customers may take some.
EXPIRES_AFTER = timedelta(days=14)
# Without leading zeros, so that a transfer has one id only.
_ID = re.compile("[1-9][0-9]{0,17}")
# So much of a statement is read to find out whether it can be read.
_GLANCE = timedelta(minutes=1)
_BALANCE_EVENTS = ("balances#update", "balances#credit")
_OWN_TRANSFER = re.compile("TRANSFER-([1-9][0-9]{0,17})")


class CurrencyNotReceived(InvalidArgument):
    """The platform has no bank account in it."""

    reason = ErrorReason.CURRENCY_UNSUPPORTED

    def __init__(self, currency_code: str, known: Sequence[str]) -> None:
        super().__init__(
            f"bank transfers in {currency_code} cannot be received; use one of {', '.join(known)}",
            currencyCode=currency_code,
        )


class _AnothersTransfer(RefundNotSeen):
    def __init__(self, transfer_id: str) -> None:
        super().__init__(f"the transfer {transfer_id} is another refund's, or a payout's")


class WiseDeposits:
    """Deposits by bank transfer to one profile at Wise."""

    is_watched = True
    takes_transfers = True
    # A bounce can come weeks after a transfer has arrived. Wise's events and its statement say so, and this asks for
    # what both missed.
    refunds_followed_for = timedelta(days=60)
    refunds_asked_after = timedelta(hours=1)

    def __init__(
        self,
        url: str,
        token: str,
        profile_id: int,
        webhook_key: RSAPublicKey,
        currencies: Sequence[str],
        db: Database,
        clock: Clock,
    ) -> None:
        self._health = Health(clock)
        self._api = WiseApi(url, token, profile_id, self._health)
        self._profile_id = profile_id
        self._webhook_key = webhook_key
        self._currencies = currencies
        self._db = db
        self._clock = clock

    def check(self, _choice: Mapping[str, Any], currency_code: str) -> Mapping[str, Any]:
        """There is nothing to choose; CURRENCY_UNSUPPORTED."""
        if currency_code not in self._currencies:
            raise CurrencyNotReceived(currency_code, self._currencies)
        return {}

    def outage(self, _choice: Mapping[str, Any]) -> Outage | None:
        """That Wise has not given out its statement for a while."""
        because = self._health.outage
        return Outage(because) if because else None

    def recheck(self, choice: Mapping[str, Any]) -> Outage | None:
        """The same, once Wise was asked for a minute of a statement."""
        if self._health.outage:
            with suppress(Unavailable):
                self._api.lines(self._currencies[0], self._now() - _GLANCE, self._now())
        return self.outage(choice)

    def open(self, payment: Payment) -> Report:
        """Tells where to transfer the amount to, and with which reference; PROVIDER_REJECTED."""
        account = self._api.account(payment.currency_code)
        if not account:
            raise ProviderRejected(f"there is no bank account for {payment.currency_code}")
        shown = reference.shown(self._reference(payment))
        expires_at = payment.created_at + EXPIRES_AFTER
        return Report(
            shown, State.PENDING, instructions={**account, "reference": shown}, expires_at=expires_at
        )  # fmt: skip

    def look_up(self, payment: Payment) -> Report:
        """What of the statement has the payment's reference."""
        since = payment.created_at - MARGIN
        lines = self._api.lines(payment.currency_code, since, min(self._now(), since + MOST_AT_ONCE))
        shown = payment.external_id or ""
        own = (line for line in lines if shown in map(reference.shown, reference.found(line.text)))
        told = (self._deposit_news(line, lines) for line in own if line.is_credit)
        arrivals = [
            arrival
            for news in told
            if isinstance(news, PaymentUpdate) and news.payment_id == payment.id
            for arrival in news.report.incoming
        ]
        return Report(shown, State.PENDING, arrivals)

    def close(self, payment: Payment) -> Report:
        """Nobody can keep a bank from transferring late: it is credited then."""
        report = self.look_up(payment)
        return Report(report.external_id, State.EXPIRED, report.incoming)

    def refund(self, payment: Payment, outgoing: Outgoing) -> RefundReport:
        """What staff have sent back by a transfer of their own, by its id; REFUND_NOT_SEEN."""
        seen = self._seen(payment, outgoing.amount_micros, outgoing.sent_as)
        with self._db.transaction() as tx:
            self.claim_refund(tx, outgoing.refund_id, seen)
        return RefundReport(
            outgoing.sent_as, outgoing.refund_id, payment.id, outgoing.amount_micros, "SUCCEEDED"
        )  # fmt: skip

    def check_refund(self, payment: Payment, amount_micros: int, sent_as: str) -> SeenRefund:
        """The same, of a transfer that no refund and no payout has; REFUND_NOT_SEEN, UNAVAILABLE."""
        seen = self._seen(payment, amount_micros, sent_as)
        if store.is_claimed_of_anyone(self._db, sent_as):
            raise _AnothersTransfer(sent_as)
        return seen

    def claim_refund(self, tx: Transaction, refund_id: UUID, seen: SeenRefund) -> None:
        """Makes the transfer this refund's; REFUND_NOT_SEEN where it is another's, or a payout's."""
        if not store.claim_of_anyone(tx, seen.external_id, refund_id):
            raise _AnothersTransfer(seen.external_id)

    def look_up_refund(self, payment: Payment, sent: SentRefund) -> RefundReport:
        """How the transfer of a refund stands; UNAVAILABLE."""
        transfer = self._api.transfer(sent.external_id)
        if transfer is None:
            raise Unavailable(f"Wise does not say how the transfer {sent.external_id} stands")
        standing = payouts.standing_of(
            transfer, lambda: self._api.moved(transfer, self._now()), sent.amount_micros
        )  # fmt: skip
        is_failed, returned = standing.state is TransferState.FAILED, standing.returned_micros
        state = {TransferState.FAILED: "FAILED", TransferState.PAID: "SUCCEEDED"}.get(standing.state, "PENDING")
        return RefundReport(
            sent.external_id,
            sent.refund_id,
            payment.id,
            sent.amount_micros,
            state,
            failure_message=standing.reason if is_failed else "",
            returned_micros=returned,
            pending_reason="" if state != "PENDING" else standing.reason or _pending(transfer),
            is_current=True,
            is_final=is_failed and (returned is None or returned >= sent.amount_micros),
        )

    def _seen(self, payment: Payment, amount_micros: int, sent_as: str) -> SeenRefund:
        if not sent_as:
            raise RefundNotSeen("sentAs must be the number of the transfer at Wise by which it was sent back")
        transfer = self._api.transfer(sent_as) if _ID.fullmatch(sent_as) else None
        if transfer is None or not _sends(transfer, payment.currency_code, amount_micros):
            raise RefundNotSeen(
                f"Wise has no transfer {sent_as} that has sent {to_decimal(amount_micros)} {payment.currency_code}"
            )
        return SeenRefund(sent_as, amount_micros)

    def event(self, body: bytes, header: Header) -> Event:
        """What the statement says of a balance that changed, or how a payout stands; SIGNATURE_INVALID.

        UNAVAILABLE where the statement cannot be read: Wise sends it again then, and `missed` finds it, too.
        """
        try:
            signature = base64.b64decode(header("x-signature-sha256"), validate=True)
            self._webhook_key.verify(signature, body, padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError) as error:
            raise SignatureInvalid("X-Signature-SHA256") from error
        return self.read(body)

    def read(self, body: bytes) -> Event:
        """The same, of a body that is known to be Wise's. Its hash is its id: the delivery's id is not signed."""
        found = json_object(body, parse_float=Decimal)
        kind, data = str(found.get("event_type") or ""), _inner(found, "data")
        event_id = hashlib.sha256(body).hexdigest()
        # Wise signs the webhooks of all its customers with one key.
        if _inner(data, "resource").get("profile_id") != self._profile_id:
            return Event(event_id, kind)
        if kind == "transfers#state-change":
            transfer_id, state = str(_inner(data, "resource").get("id")), str(data.get("current_state"))
            return Event(event_id, kind, self._transfer_news(transfer_id, state))
        return Event(event_id, kind, self._told(data) if kind in _BALANCE_EVENTS else [])

    def missed(self, since: datetime) -> Iterable[Event]:
        """Every line of every currency's statement since then, each as if a webhook told of it."""
        events: list[Event] = []
        for currency_code in self._currencies:
            parts = intervals(since - MARGIN, self._now())
            found = [line for interval in parts for line in self._api.lines(currency_code, *interval)]
            # A line at the very end of an interval is in the next one, too.
            lines = list({line.key: line for line in found}.values())
            events += [event for line in lines if (event := self._missed(line, lines))]
        return sorted(events, key=lambda event: event.at or since)

    def background(self, _bookings: Bookings) -> Sequence[Runnable]:
        """Nothing: it tells by webhooks, and its statement is read for what they missed."""
        return ()

    def _reference(self, payment: Payment) -> str:
        """The payment's, whoever made it: a crash may come between this and what is told of it."""
        for _ in range(5):
            with self._db.transaction() as tx:
                store.add(tx, reference.new(), payment.id, payment.organization_id, self._now())
                if kept := store.get(tx, payment.organization_id, payment.id):
                    return kept
        raise LookupError("five new references in turn were another payment's")

    def _missed(self, line: Line, lines: Sequence[Line]) -> Event | None:
        news = self._news(line, lines)
        if not news:
            return None
        (first, *_), direction = news, "credit" if line.is_credit else "debit"
        # Several lines may say such a thing of one number.
        is_part = isinstance(first, RefundReport | PayoutReport) or (
            isinstance(first, ReversalReport) and first.recall is not None
        )
        return self._as_event(line, news, f"{line.key if is_part else line.reference_number}/{direction}")

    def _transfer_news(self, transfer_id: str, told_state: str = "") -> Sequence[ProviderUpdate]:
        """How one of the profile's own transfers stands, a payout's or a refund's.

        Wise is asked where the amount that came back matters, or where an event may be older than what is known.
        """
        is_in_doubt = told_state in ("", "bounced_back", *payouts.TAKEN_BACK)
        refund = store.refund_of_anyone(self._db, transfer_id)
        if refund and (is_in_doubt or refund.is_in_doubt):
            sent = SentRefund(refund.refund_id, transfer_id, refund.amount_micros)
            if payment := payments.get_any_tenant(self._db, refund.payment_id):
                return [self.look_up_refund(payment, sent)]
        if told_state and told_state not in payouts.TAKEN_BACK:
            return [PayoutReport(transfer_id, payouts.outcome(told_state), payouts.reason(told_state))]
        transfer = self._api.transfer(transfer_id) if store.is_payout_of_anyone(self._db, transfer_id) else None
        if transfer is None:
            return []
        standing = payouts.standing_of(transfer, lambda: self._api.moved(transfer, self._now()))
        return [PayoutReport(transfer_id, standing.state, standing.reason, standing.returned_micros)]

    def _returns_known(self, line: Line) -> bool:
        """Whether the line gives back what a payout or a refund has sent."""
        found = _OWN_TRANSFER.fullmatch(line.reference_number)
        if not found or not line.is_credit or line.kind == "DEPOSIT":
            return False
        return bool(store.refund_of_anyone(self._db, found[1])) or store.is_payout_of_anyone(self._db, found[1])

    def _told(self, data: Mapping[str, Any]) -> Sequence[ProviderUpdate]:
        """News of the line that the webhook is about; none where the statement does not have it yet.

        The webhook and the statement name a movement differently, so it is found by what both say. Of two that look
        alike either will do: both are in the statement, each is booked once, and `missed` finds the other.
        """
        try:
            amount_micros, currency_code = abs(micros(data["amount"])), str(data["currency"])
            balance_micros = micros(data.get("post_transaction_balance_amount") or 0)
            at = datetime.fromisoformat(data["occurred_at"])
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise InvalidArgument("data must have an amount, its currency and occurred_at") from error
        if currency_code not in self._currencies:
            return []
        is_credit = data.get("transaction_type", "credit") == "credit"
        number = _digits(str(data.get("transfer_reference") or ""))
        balance_id = data.get("balance_id")
        now = self._now()
        # Up to now: what was received then may have been taken back since.
        since = max(at - MARGIN, now - MOST_AT_ONCE)
        lines = self._api.lines(currency_code, since, now, balance_id if isinstance(balance_id, int) else None)
        same = [line for line in lines if (line.is_credit, line.amount_micros) == (is_credit, amount_micros)]
        line = min(
            same,
            default=None,
            key=lambda one: (
                _digits(one.reference_number) != number, one.running_micros != balance_micros, abs(one.at - at)
            ),
        )  # fmt: skip
        return self._news(line, lines) if line else []

    def _news(self, line: Line, lines: Sequence[Line]) -> Sequence[ProviderUpdate]:
        """What a line of a statement means for us, among the lines around it."""
        if not line.is_credit:
            return [_reversal(line, lines)]
        if self._returns_known(line):
            return self._transfer_news(line.reference_number.removeprefix("TRANSFER-"))
        news = self._deposit_news(line, lines)
        return [news] if news else []

    def _deposit_news(self, line: Line, lines: Sequence[Line]) -> ProviderUpdate | None:
        """A deposit, with what was taken back of it since; None where that is all of it."""
        recalls = tuple(
            Recall(one.key, one.amount_micros)
            for one in lines
            if one.reference_number == line.reference_number and not one.is_credit
        )
        amount_micros = floor_to_minor(line.amount_micros, line.currency_code)
        if (
            line.kind != "DEPOSIT"
            or not amount_micros
            or sum(one.amount_micros for one in recalls) >= line.amount_micros
        ):
            return None
        arrival = IncomingFunds(
            line.reference_number,
            amount_micros,
            line.currency_code,
            detail={"remittance_text": line.text, "sender_name": line.sender_name},
            recalls=recalls,
        )
        known = {
            (payment_id, one)
            for one in reference.found(line.text)
            if (payment_id := store.payment_of_anyone(self._db, one))
        }
        if len(known) != 1:
            return UnmatchedFunds(arrival)
        ((payment_id, one),) = known
        return PaymentUpdate(payment_id, Report(reference.shown(one), State.PENDING, [arrival]))

    def _as_event(self, line: Line, news: Sequence[ProviderUpdate], event_id: str) -> Event:
        direction = "credit" if line.is_credit else "debit"
        data = {
            "resource": {"profile_id": self._profile_id, "type": "balance-account"},
            "amount": str(to_decimal(line.amount_micros)),
            "currency": line.currency_code,
            "occurred_at": line.at.isoformat(),
            "post_transaction_balance_amount": str(to_decimal(line.running_micros)),
            "transaction_type": direction,
            "transfer_reference": line.reference_number,
        }
        kind = "balances#update"
        body = json.dumps({"event_type": kind, "data": data}).encode()
        return Event(event_id, kind, news, line.at, body)

    def _now(self) -> datetime:
        return self._clock.now()


def _reversal(line: Line, lines: Sequence[Line]) -> ReversalReport:
    """What a debit takes back: the whole of what came under its number, or as much as it says."""
    same = [one for one in lines if one.reference_number == line.reference_number]
    is_whole = sum(not one.is_credit for one in same) == 1 and any(
        one.is_credit and one.amount_micros == line.amount_micros for one in same
    )
    return ReversalReport(line.reference_number, None if is_whole else Recall(line.key, line.amount_micros))


def _pending(transfer: Mapping[str, Any]) -> str:
    if transfer.get("status") == "bounced_back":
        return "the recipient's bank sent it back; Wise delivers it again, or returns the money"
    return "the bank has it again, and has not delivered it"


def _sends(transfer: Mapping[str, Any], currency_code: str, amount_micros: int) -> bool:
    """Exactly that much: what was sent beyond it would be in no book."""
    sent_micros = micros(transfer.get("targetValue") or 0)
    said = (transfer.get("status"), transfer.get("targetCurrency"))
    return said == ("outgoing_payment_sent", currency_code) and sent_micros == amount_micros


def _inner(outer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = outer.get(name)
    return found if isinstance(found, dict) else {}


def _digits(text: str) -> str:
    return "".join(sign for sign in text if sign.isdecimal())
