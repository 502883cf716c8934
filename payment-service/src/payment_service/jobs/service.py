"""Settling what webhooks should have told us and did not."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib import jobs
from adlib.db import Database
from payment_service.ledger.service import LedgerService
from payment_service.payments.service import PaymentService
from payment_service.payouts.service import PayoutService
from payment_service.refunds.service import RefundService
from payment_service.webhooks.service import WebhookService

_LIMIT = 200
# A run ends before its caller stops waiting; the next one goes on with those that wait longest.
_BUDGET_S = 10.0


@dataclass(frozen=True, slots=True)
class _Item:
    name: str
    work: Callable[[], object]

    def __str__(self) -> str:
        return self.name

    def do(self) -> None:
        self.work()


class SettlementService:
    """The job that asks providers."""

    def __init__(
        self,
        db: Database,
        payments: PaymentService,
        refunds: RefundService,
        payouts: PayoutService,
        webhooks: WebhookService,
        ledger: LedgerService,
    ) -> None:
        self._db = db
        self._payments = payments
        self._refunds = refunds
        self._payouts = payouts
        self._webhooks = webhooks
        self._ledger = ledger

    def settle(self) -> JobResult:
        """Asks for what webhooks have missed and about open payments and payouts, and does again what was not done."""
        return jobs.run(self._db, "settle-payments", self._items, _Item.do)

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
                _Item(f"payment {one.id}", partial(self._payments.check, one))
                for one in self._payments.unsettled(_LIMIT)
            ),
            (_Item(f"payout {id}", partial(self._payouts.check, id)) for id in self._payouts.unsettled(_LIMIT)),
            (_Item(f"send refund {id}", partial(self._refunds.send, id)) for id in self._refunds.unsent(_LIMIT)),
            (
                _Item(f"book {provider} {event_id}", partial(self._webhooks.book, provider, event_id))
                for provider, event_id in self._webhooks.unbooked(_LIMIT)
            ),
            (_Item(f"free {id}", partial(self._ledger.void, id)) for id in self._ledger.expired(_LIMIT)),
            (_Item(f"send payout {id}", partial(self._payouts.attempt, id)) for id in self._payouts.unsent(_LIMIT)),
        )
        for turn in zip_longest(*kinds):
            yield from (item for item in turn if item)
