"""Bank transfers into the platform's account at Wise.

A webhook only says that a balance has changed; who sent what with which text stands in the balance's statement. So a
webhook is a reason to read the statement, and what that says is booked: it is true whichever webhook came first, twice
or not at all. Money is known by the statement's reference number, whoever reads it.
"""

import base64
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from adplatform.errors.v1.errors_pb2 import ErrorReason
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import InvalidArgument, Unavailable
from adlib.money import to_decimal, whole_minor
from adlib.rpc import Runnable
from payment_service.payments.model import Arrival, Outage, Payment, ProviderRejected, Report, State
from payment_service.payouts import wise as payouts
from payment_service.providers.health import Health
from payment_service.providers.protocol import (
    Bookings,
    Event,
    Header,
    News,
    Outgoing,
    PaymentNews,
    PayoutNews,
    RefundReport,
    ReversalNews,
    UnmatchedNews,
)
from payment_service.providers.wise import reference, store
from payment_service.providers.wise.api import Line, WiseApi, micros
from payment_service.refunds.model import RefundNotSeen
from payment_service.webhooks.model import SignatureInvalid

# A bank transfer may take some days, and customers may take some.
EXPIRES_AFTER = timedelta(days=14)
# Clocks differ, and a line may be in the statement later than its own time says.
_MARGIN = timedelta(hours=1)
# Wise gives at most 469 days of a statement at once; less keeps the answers small.
_MOST_AT_ONCE = timedelta(days=60)
# Without leading zeros, so that a transfer has one id only.
_ID = re.compile("[1-9][0-9]{0,17}")
# So much of a statement is read to find out whether it can be read.
_GLANCE = timedelta(minutes=1)
_BALANCE_EVENTS = ("balances#update", "balances#credit")


class CurrencyNotReceived(InvalidArgument):
    """The platform has no bank account in it."""

    reason = ErrorReason.CURRENCY_UNSUPPORTED

    def __init__(self, currency_code: str, known: Sequence[str]) -> None:
        super().__init__(
            f"bank transfers in {currency_code} cannot be received; use one of {', '.join(known)}",
            currencyCode=currency_code,
        )


class WiseDeposits:
    """Deposits by bank transfer to one profile at Wise."""

    is_watched = True
    takes_transfers = True

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
        since = payment.created_at - _MARGIN
        lines = self._api.lines(payment.currency_code, since, min(self._now(), since + _MOST_AT_ONCE))
        back, shown = _taken_back(lines), payment.external_id or ""
        own = (line for line in lines if shown in map(reference.shown, reference.found(line.text)))
        told = (self._news(line, back) for line in own)
        arrivals = [
            arrival
            for news in told
            if isinstance(news, PaymentNews) and news.payment_id == payment.id
            for arrival in news.report.arrivals
        ]
        return Report(shown, State.PENDING, arrivals)

    def close(self, payment: Payment) -> Report:
        """Nobody can keep a bank from transferring late: it is credited then."""
        report = self.look_up(payment)
        return Report(report.external_id, State.EXPIRED, report.arrivals)

    def refund(self, payment: Payment, outgoing: Outgoing) -> RefundReport:
        """What staff have sent back by a transfer of their own, by its id; REFUND_NOT_SEEN."""
        if not outgoing.sent_as:
            raise RefundNotSeen("sentAs must be the number of the transfer at Wise by which it was sent back")
        transfer = self._api.transfer(outgoing.sent_as) if _ID.fullmatch(outgoing.sent_as) else None
        if transfer is None or not _sends(transfer, payment.currency_code, outgoing.amount_micros):
            raise RefundNotSeen(
                f"Wise has no transfer {outgoing.sent_as} that has sent {to_decimal(outgoing.amount_micros)} "
                f"{payment.currency_code}"
            )
        with self._db.transaction() as tx:
            if not store.claim_of_anyone(tx, outgoing.sent_as, outgoing.refund_id):
                raise RefundNotSeen(f"the transfer {outgoing.sent_as} is another refund's, or a payout's")
        return RefundReport(
            outgoing.sent_as, outgoing.refund_id, payment.id, outgoing.amount_micros, "SUCCEEDED"
        )  # fmt: skip

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
        found = _object(body)
        kind, data = str(found.get("event_type") or ""), _inner(found, "data")
        event_id = hashlib.sha256(body).hexdigest()
        # Wise signs the webhooks of all its customers with one key.
        if _inner(data, "resource").get("profile_id") != self._profile_id:
            return Event(event_id, kind)
        news: News | None = None
        if kind == "transfers#state-change":
            transfer_id, state = str(_inner(data, "resource").get("id")), str(data.get("current_state"))
            news = PayoutNews(transfer_id, payouts.outcome(state), payouts.reason(state))
        elif kind in _BALANCE_EVENTS:
            news = self._told(data)
        return Event(event_id, kind, [news] if news else [])

    def missed(self, since: datetime) -> Iterable[Event]:
        """Every line of every currency's statement since then, each as if a webhook told of it."""
        told: list[tuple[Line, News | None]] = []
        for currency_code in self._currencies:
            lines = [line for interval in self._intervals(since) for line in self._api.lines(currency_code, *interval)]
            back = _taken_back(lines)
            told += [(line, self._news(line, back)) for line in lines]
        events = [self._as_event(line, news) for line, news in told if news]
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

    def _told(self, data: Mapping[str, Any]) -> News | None:
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
            return None
        is_credit = data.get("transaction_type", "credit") == "credit"
        number = _digits(str(data.get("transfer_reference") or ""))
        balance_id = data.get("balance_id")
        now = self._now()
        # Up to now: what was received then may have been taken back since.
        since = max(at - _MARGIN, now - _MOST_AT_ONCE)
        lines = self._api.lines(currency_code, since, now, balance_id if isinstance(balance_id, int) else None)
        same = [line for line in lines if (line.is_credit, line.amount_micros) == (is_credit, amount_micros)]
        line = min(
            same,
            default=None,
            key=lambda one: (
                _digits(one.reference_number) != number, one.running_micros != balance_micros, abs(one.at - at)
            ),
        )  # fmt: skip
        return self._news(line, _taken_back(lines)) if line else None

    def _news(self, line: Line, back: Collection[str]) -> News | None:
        """What a line of a statement means for us; `back` are the numbers of what was taken back."""
        if not line.is_credit:
            return ReversalNews(line.reference_number)
        amount_micros = whole_minor(line.amount_micros, line.currency_code)
        if line.kind != "DEPOSIT" or line.reference_number in back or not amount_micros:
            return None
        arrival = Arrival(
            line.reference_number,
            amount_micros,
            line.currency_code,
            detail={"remittance_text": line.text, "sender_name": line.sender_name},
        )
        known = {
            (payment_id, one)
            for one in reference.found(line.text)
            if (payment_id := store.payment_of_anyone(self._db, one))
        }
        if len(known) != 1:
            return UnmatchedNews(arrival)
        ((payment_id, one),) = known
        return PaymentNews(payment_id, Report(reference.shown(one), State.PENDING, [arrival]))

    def _as_event(self, line: Line, news: News) -> Event:
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
        return Event(f"{line.reference_number}/{direction}", kind, [news], line.at, body)

    def _intervals(self, since: datetime) -> Iterator[tuple[datetime, datetime]]:
        begin, now = since - _MARGIN, self._now()
        while begin < now:
            end = min(begin + _MOST_AT_ONCE, now)
            yield begin, end
            begin = end

    def _now(self) -> datetime:
        return self._clock.now()


def _taken_back(lines: Sequence[Line]) -> Collection[str]:
    return {line.reference_number for line in lines if not line.is_credit}


def _sends(transfer: Mapping[str, Any], currency_code: str, amount_micros: int) -> bool:
    sent_micros = micros(transfer.get("targetValue") or 0)
    said = (transfer.get("status"), transfer.get("targetCurrency"))
    return said == ("outgoing_payment_sent", currency_code) and sent_micros >= amount_micros


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body, parse_float=Decimal)
    # RecursionError: of one that is nested deeper than Python can follow.
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("the body is no JSON") from error
    if not isinstance(found, dict):
        raise InvalidArgument("the body is no JSON object")
    return found


def _inner(outer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = outer.get(name)
    return found if isinstance(found, dict) else {}


def _digits(text: str) -> str:
    return "".join(sign for sign in text if sign.isdecimal())
