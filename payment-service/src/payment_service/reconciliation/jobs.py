"""Books events whose webhooks were missed, and resumes work that failed before."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib import jobs
from adlib.db import Database
from payment_service.checkout.jobs import PaymentPoll
from payment_service.ledger.service import ReservationService
from payment_service.payouts.service import PayoutService
from payment_service.quarantine.model import ItemKey, Kind
from payment_service.quarantine.service import QuarantineService
from payment_service.refunds.jobs import RefundPoll
from payment_service.refunds.tasks import RefundSender
from payment_service.webhooks.service import WebhookService

_MAX_ITEMS_PER_KIND = 200
# A run ends before its caller times out; the next one starts with the items that have waited longest.
_MAX_RUN_S = 10.0


@dataclass(frozen=True, slots=True)
class Item:
    """A unit of work; `key` identifies it in quarantine, None if it is never quarantined."""

    name: str
    work: Callable[[], object]
    key: ItemKey | None = None
    # Whether it is retried for as long as an outage lasts.
    is_outage_tolerated: bool = False

    def __str__(self) -> str:
        return self.name


# Lists the items of one kind; called once per run.
ItemSource = Callable[[], Iterable[Item]]


class ReconciliationJob:
    """Processes the items of all sources; items that fail repeatedly are quarantined and skipped."""

    def __init__(self, db: Database, quarantine: QuarantineService, sources: Sequence[ItemSource]) -> None:
        self._db = db
        self._quarantine = quarantine
        self._sources = sources

    def run(self) -> JobResult:
        """Processes items for ten seconds at most, and counts the quarantined ones."""
        self._quarantine.clean_up()
        failing = self._quarantine.failing()
        result = jobs.run(self._db, "settle-payments", self._items, lambda item: self._process(item, failing))
        result.stats.quarantined_count = self._quarantine.count()
        return result

    def _process(self, item: Item, failing: Collection[ItemKey]) -> None:
        try:
            item.work()
        except Exception as error:
            if item.key:
                self._quarantine.record_failure(item.key, error, is_outage_tolerated=item.is_outage_tolerated)
            raise
        if item.key and item.key in failing:
            self._quarantine.record_success(item.key)

    def _items(self) -> Iterator[Item]:
        """One item of each source in turn, so that a long source does not delay the others."""
        end = time.monotonic() + _MAX_RUN_S
        for turn in zip_longest(*(source() for source in self._sources)):
            for item in turn:
                if item is None:
                    continue
                if time.monotonic() > end:
                    return
                yield item


def missed_events(webhooks: WebhookService) -> Iterator[Item]:
    """Per provider, the events whose webhooks may have been missed."""
    for provider in webhooks.sources:
        yield Item(f"missed by {provider}", partial(webhooks.catch_up, provider))


def unbooked_events(webhooks: WebhookService) -> Iterator[Item]:
    """Stored events that could not be booked."""
    for provider, event_id in webhooks.unbooked(_MAX_ITEMS_PER_KIND):
        key = ItemKey(Kind.EVENT, event_id, provider)
        yield Item(f"book {provider} {event_id}", partial(webhooks.book, provider, event_id), key)


def open_payments(payments: PaymentPoll) -> Iterator[Item]:
    """Open payments whose state is due to be polled."""
    for payment in payments.due(_MAX_ITEMS_PER_KIND):
        key = ItemKey(Kind.PAYMENT, str(payment.id))
        yield Item(f"payment {payment.id}", partial(payments.check, payment), key)


def sent_refunds(refunds: RefundPoll) -> Iterator[Item]:
    """Sent refunds whose state is due to be polled."""
    for id in refunds.due(_MAX_ITEMS_PER_KIND):
        yield Item(f"follow refund {id}", partial(refunds.check, id), ItemKey(Kind.REFUND, str(id)))


def abandoned_refunds(refunds: RefundPoll, sender: RefundSender) -> Iterator[Item]:
    """Refunds that the task queue gave up on."""
    for id in refunds.abandoned(_MAX_ITEMS_PER_KIND):
        yield Item(f"send refund {id}", partial(sender.send, id), ItemKey(Kind.REFUND, str(id)))


def sent_payouts(payouts: PayoutService) -> Iterator[Item]:
    """Sent payouts whose state is due to be polled."""
    for id in payouts.unsettled(_MAX_ITEMS_PER_KIND):
        yield Item(f"payout {id}", partial(payouts.check, id), ItemKey(Kind.PAYOUT, str(id)))


def unsent_payouts(payouts: PayoutService) -> Iterator[Item]:
    """Payouts to send; the balance at the bank may be short for any length of time."""
    for id in payouts.unsent(_MAX_ITEMS_PER_KIND):
        key = ItemKey(Kind.PAYOUT, str(id))
        yield Item(f"send payout {id}", partial(payouts.attempt, id), key, is_outage_tolerated=True)


def expired_reservations(reservations: ReservationService) -> Iterator[Item]:
    """Expired reservations, to be released."""
    for id in reservations.expired(_MAX_ITEMS_PER_KIND):
        yield Item(f"free {id}", partial(reservations.void, id), ItemKey(Kind.RESERVATION, str(id)))


def item_sources(
    payments: PaymentPoll,
    refunds: RefundPoll,
    refund_sender: RefundSender,
    payouts: PayoutService,
    webhooks: WebhookService,
    reservations: ReservationService,
) -> Sequence[ItemSource]:
    """The sources of all features, in the order in which a run takes one item of each."""
    return (
        partial(missed_events, webhooks),
        partial(open_payments, payments),
        partial(sent_refunds, refunds),
        partial(sent_payouts, payouts),
        partial(abandoned_refunds, refunds, refund_sender),
        partial(unbooked_events, webhooks),
        partial(expired_reservations, reservations),
        partial(unsent_payouts, payouts),
    )
