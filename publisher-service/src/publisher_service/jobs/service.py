"""The job that holds earnings against the ledger and finishes payouts that were left half done."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib import jobs, paging
from adlib.db import Database
from adlib.deadline import deadline
from adlib.errors import AppError
from publisher_service.clients.payment import Balance, Ledger
from publisher_service.earnings import store as earnings
from publisher_service.payouts.service import PayoutService
from publisher_service.publishers import store as publishers
from publisher_service.publishers.model import State

_PAYOUTS = 1_000
_POLL_S = 0.1
# Kept back from the caller's deadline for the answer.
_MARGIN_S = 1.0


class BalancesDiffer(Exception):
    """A publisher's earnings are not what the ledger has credited."""

    def __init__(self, publisher_id: UUID, currency_code: str, earned_micros: int, credited_micros: int) -> None:
        super().__init__(
            f"publisher {publisher_id}: earnings add up to {earned_micros} micros {currency_code}, "
            f"the ledger has credited {credited_micros}"
        )


@dataclass(frozen=True, slots=True)
class Check:
    """A publisher's figures in micros by currency: earned when the ledger was asked, what it said, earned since then.

    `failure` is why the ledger's could not be read.
    """

    publisher_id: UUID
    earned: Mapping[str, int]
    credited: Mapping[str, int]
    earned_since: Mapping[str, int]
    failure: AppError | None = None

    @property
    def is_behind(self) -> bool:
        """Whether events of what the ledger has credited are still missing."""
        return any(self.earned_since.get(code, 0) < credited for code, credited in self.credited.items())

    def require_equal(self) -> None:
        """Raises what is wrong, if something is."""
        if self.failure:
            raise self.failure
        for code in self.earned.keys() | self.credited.keys():
            credited = self.credited.get(code, 0)
            for earned in (max(self.earned.get(code, 0), credited), min(self.earned_since.get(code, 0), credited)):
                if earned != credited:
                    raise BalancesDiffer(self.publisher_id, code, earned, credited)


class BalanceSync:
    """Compares figures that only ever grow, so that spend on its way never looks like a fault.

    Earnings are read before the ledger and must not exceed it; then they, which follow the ledger over the bus, get
    `patience_s` seconds to reach what the ledger said.
    """

    def __init__(self, db: Database, ledger: Ledger, payouts: PayoutService, *, patience_s: float = 5.0) -> None:
        self._db = db
        self._ledger = ledger
        self._payouts = payouts
        self._patience_s = patience_s

    def run(self) -> JobResult:
        """Works on every payout that was left half done and every approved publisher."""
        return jobs.run(self._db, "sync-publisher-balances", self._items, self._work, _described)

    def _work(self, item: UUID | Check) -> None:
        if isinstance(item, Check):
            item.require_equal()
        else:
            self._payouts.finish(item)

    def _items(self) -> Iterator[UUID | Check]:
        yield from self._payouts.left_over(_PAYOUTS)
        checks: list[Check] = []
        page = paging.Page(paging.MAX_SIZE)
        while publisher_ids := [one.id for one in publishers.staff_list_page(self._db, page, State.APPROVED)][
            : page.size
        ]:
            checks += self._checks(publisher_ids)
            page = paging.Page(page.size, publisher_ids[-1])
        yield from self._patiently(checks)

    def _checks(self, publisher_ids: Sequence[UUID]) -> Iterator[Check]:
        earned = earnings.staff_totals(self._db, publisher_ids)
        balances: Mapping[UUID, Sequence[Balance]] = {}
        failure = None
        try:
            balances = self._ledger.balances(publisher_ids)
        except AppError as error:
            failure = error
        for id in publisher_ids:
            credited = {balance.currency_code: balance.earned_micros for balance in balances.get(id, ())}
            yield Check(id, earned.get(id, {}), credited, earned.get(id, {}), failure)

    def _patiently(self, checks: Sequence[Check]) -> Iterator[Check]:
        """Each check, once its earnings have caught up or time is up for all of them."""
        patient_until = min(time.monotonic() + self._patience_s, deadline.get() - _MARGIN_S)
        while True:
            yield from (check for check in checks if not check.is_behind)
            checks = [check for check in checks if check.is_behind]
            if not checks or time.monotonic() >= patient_until:
                break
            time.sleep(_POLL_S)
            now = earnings.staff_totals(self._db, [check.publisher_id for check in checks])
            checks = [replace(check, earned_since=now.get(check.publisher_id, {})) for check in checks]
        yield from checks


def _described(item: UUID | Check) -> str:
    return f"publisher {item.publisher_id}" if isinstance(item, Check) else f"payout {item}"
