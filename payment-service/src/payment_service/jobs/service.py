"""Settling what webhooks should have told us and did not."""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib import jobs
from adlib.db import Database
from payment_service.ledger.service import LedgerService
from payment_service.payments.service import PaymentService
from payment_service.payouts.service import PayoutService
from payment_service.quarantine.model import ItemKey, Kind
from payment_service.quarantine.service import QuarantineService
from payment_service.refunds.service import RefundService
from payment_service.webhooks.service import WebhookService

_LIMIT = 200
# A run ends before its caller stops waiting; the next one goes on with those that wait longest.
_BUDGET_S = 10.0


@dataclass(frozen=True, slots=True)
class _Item:
    """`key`: what it is in quarantine; None where it is never left alone."""

    name: str
    work: Callable[[], object]
    key: ItemKey | None = None
    # The bank may be short of money for as long as it takes.
    is_waited_for: bool = False

    def __str__(self) -> str:
        return self.name


class ReconciliationJob:
    """The job that asks providers."""

    def __init__(
        self,
        db: Database,
        payments: PaymentService,
        refunds: RefundService,
        payouts: PayoutService,
        webhooks: WebhookService,
        ledger: LedgerService,
        quarantine: QuarantineService,
    ) -> None:
        self._db = db
        self._payments = payments
        self._refunds = refunds
        self._payouts = payouts
        self._webhooks = webhooks
        self._ledger = ledger
        self._quarantine = quarantine

    def settle(self) -> JobResult:
        """Asks for what webhooks have missed and about open payments and payouts, and does again what was not done.

        What always fails is quarantined, and left out of the runs that follow.
        """
        self._quarantine.tidy()
        failing = self._quarantine.failing()
        result = jobs.run(self._db, "settle-payments", self._items, lambda item: self._try(item, failing))
        result.stats.quarantined_count = self._quarantine.count()
        return result

    def _try(self, item: _Item, failing: Collection[ItemKey]) -> None:
        try:
            item.work()
        except Exception as error:
            if item.key:
                self._quarantine.failed(item.key, error, is_waited_for=item.is_waited_for)
            raise
        if item.key and item.key in failing:
            self._quarantine.succeeded(item.key)

    def _items(self) -> Iterator[_Item]:
        end = time.monotonic() + _BUDGET_S
        for item in self._all():
            if time.monotonic() > end:
                return
            yield item

    def _all(self) -> Iterator[_Item]:
        """One of each kind in turn, so that many of one do not keep the others from theirs."""
        kinds = (
            (_Item(f"missed by {one}", partial(self._webhooks.catch_up, one)) for one in self._webhooks.sources),
            (
                _Item(f"payment {one.id}", partial(self._payments.check, one), ItemKey(Kind.PAYMENT, str(one.id)))
                for one in self._payments.unsettled(_LIMIT)
            ),
            (
                _Item(f"follow refund {id}", partial(self._refunds.follow, id), ItemKey(Kind.REFUND, str(id)))
                for id in self._refunds.followed(_LIMIT)
            ),
            (
                _Item(f"payout {id}", partial(self._payouts.check, id), ItemKey(Kind.PAYOUT, str(id)))
                for id in self._payouts.unsettled(_LIMIT)
            ),
            (
                _Item(f"send refund {id}", partial(self._refunds.send, id), ItemKey(Kind.REFUND, str(id)))
                for id in self._refunds.unsent(_LIMIT)
            ),
            (
                _Item(
                    f"book {provider} {event_id}",
                    partial(self._webhooks.book, provider, event_id),
                    ItemKey(Kind.EVENT, event_id, provider),
                )
                for provider, event_id in self._webhooks.unbooked(_LIMIT)
            ),
            (
                _Item(f"free {id}", partial(self._ledger.void, id), ItemKey(Kind.RESERVATION, str(id)))
                for id in self._ledger.expired(_LIMIT)
            ),
            (
                _Item(
                    f"send payout {id}",
                    partial(self._payouts.attempt, id),
                    ItemKey(Kind.PAYOUT, str(id)),
                    is_waited_for=True,
                )
                for id in self._payouts.unsent(_LIMIT)
            ),
        )
        for turn in zip_longest(*kinds):
            yield from (item for item in turn if item)
