"""SyncPublisherBalances: resumes pending payouts and compares earnings with the ledger."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib import jobs, paging
from adlib.db import Database
from adlib.deadline import deadline
from adlib.errors import AppError
from publisher_service.balances.model import Comparison
from publisher_service.clients.payment import Balance, Balances
from publisher_service.earnings import store as earnings
from publisher_service.payouts.service import PayoutService
from publisher_service.publishers import store as publishers
from publisher_service.publishers.model import State

_MAX_PAYOUTS = 1_000
_POLL_INTERVAL_S = 0.1
# Reserved before the caller's deadline to send the response.
_RESPONSE_MARGIN_S = 1.0


class SyncBalances:
    """The job. Both figures only grow, so spend whose events have not arrived yet is not reported as a difference.

    Earnings are read before the ledger and must not exceed it. Then the job waits up to `max_wait_s` seconds until
    they reach the ledger's figure, since they follow it over the bus.
    """

    def __init__(self, db: Database, ledger: Balances, payouts: PayoutService, *, max_wait_s: float = 5.0) -> None:
        self._db = db
        self._ledger = ledger
        self._payouts = payouts
        self._max_wait_s = max_wait_s

    def run(self) -> JobResult:
        """Resumes every pending payout, then compares every approved publisher."""
        return jobs.run(self._db, "sync-publisher-balances", self._items, self._work, _describe)

    def _work(self, item: UUID | Comparison) -> None:
        if isinstance(item, Comparison):
            item.require_equal()
        else:
            self._payouts.resume(item)

    def _items(self) -> Iterator[UUID | Comparison]:
        yield from self._payouts.pending(_MAX_PAYOUTS)
        comparisons: list[Comparison] = []
        page = paging.Page(paging.MAX_SIZE)
        while rows := publishers.list_page_any_tenant(self._db, page, State.APPROVED)[: page.size]:
            publisher_ids = [row.id for row in rows]
            comparisons += self._compare(publisher_ids)
            page = paging.Page(page.size, publisher_ids[-1])
        yield from self._wait_for_earnings(comparisons)

    def _compare(self, publisher_ids: Sequence[UUID]) -> Iterator[Comparison]:
        earned = earnings.totals_any_tenant(self._db, publisher_ids)
        balances: Mapping[UUID, Sequence[Balance]] = {}
        failure = None
        try:
            balances = self._ledger.balances(publisher_ids)
        except AppError as error:
            failure = error
        for id in publisher_ids:
            credited = {balance.currency_code: balance.earned_micros for balance in balances.get(id, ())}
            yield Comparison(id, earned.get(id, {}), credited, earned.get(id, {}), failure)

    def _wait_for_earnings(self, comparisons: Sequence[Comparison]) -> Iterator[Comparison]:
        """Yields each comparison once its earnings have reached the ledger's, and the others after `max_wait_s`."""
        end = min(time.monotonic() + self._max_wait_s, deadline.get() - _RESPONSE_MARGIN_S)
        while True:
            yield from (one for one in comparisons if not one.is_behind)
            comparisons = [one for one in comparisons if one.is_behind]
            if not comparisons or time.monotonic() >= end:
                break
            time.sleep(_POLL_INTERVAL_S)
            totals = earnings.totals_any_tenant(self._db, [one.publisher_id for one in comparisons])
            comparisons = [replace(one, earned_since=totals.get(one.publisher_id, {})) for one in comparisons]
        yield from comparisons


def _describe(item: UUID | Comparison) -> str:
    return f"publisher {item.publisher_id}" if isinstance(item, Comparison) else f"payout {item}"
