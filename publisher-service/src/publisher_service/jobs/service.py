"""The job that holds earnings against the ledger and finishes payouts that were left half done."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from adplatform.jobs.v1.jobs_pb2 import JobResult

from adlib import jobs, paging
from adlib.db import Database
from adlib.errors import AppError
from adlib.rpc.stages import deadline
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
    """A publisher's figures in micros by currency, or why the ledger's could not be read."""

    publisher_id: UUID
    earned: Mapping[str, int]
    credited: Mapping[str, int]
    failure: AppError | None = None


class BalanceSync:
    """Compares figures that only ever grow, so that spend on its way never looks like a fault.

    Earnings are read before the ledger and must not exceed it; then they, which follow the ledger over the bus, get
    `patience_s` seconds a run to reach what the ledger said.
    """

    def __init__(self, db: Database, ledger: Ledger, payouts: PayoutService, *, patience_s: float = 5.0) -> None:
        self._db = db
        self._ledger = ledger
        self._payouts = payouts
        self._patience_s = patience_s

    def run(self) -> JobResult:
        """Works on every payout that was left half done and every approved publisher."""
        patient_until = min(time.monotonic() + self._patience_s, deadline.get() - _MARGIN_S)

        def work(item: UUID | Check) -> None:
            if isinstance(item, Check):
                self._compare(item, patient_until)
            else:
                self._payouts.finish(item)

        return jobs.run(self._db, "sync-publisher-balances", self._items, work)

    def _items(self) -> Iterator[UUID | Check]:
        yield from self._payouts.left_over(_PAYOUTS)
        token = ""
        while True:
            page = paging.page(paging.MAX_SIZE, token)
            rows = publishers.staff_list_page(self._db, page, State.APPROVED)
            found = paging.cut(rows, page, lambda publisher: publisher.id)
            if found.rows:
                yield from self._checks([publisher.id for publisher in found.rows])
            token = found.next_page_token
            if not token:
                return

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
            yield Check(id, earned.get(id, {}), credited, failure)

    def _compare(self, check: Check, patient_until: float) -> None:
        if check.failure:
            raise check.failure
        for currency_code, earned in check.earned.items():
            if earned > check.credited.get(currency_code, 0):
                raise _differ(check, currency_code, earned)
        earned_now = check.earned
        while behind := [code for code, credited in check.credited.items() if earned_now.get(code, 0) < credited]:
            if time.monotonic() >= patient_until:
                raise _differ(check, behind[0], earned_now.get(behind[0], 0))
            time.sleep(_POLL_S)
            earned_now = earnings.staff_totals(self._db, [check.publisher_id]).get(check.publisher_id, {})


def _differ(check: Check, currency_code: str, earned_micros: int) -> BalancesDiffer:
    return BalancesDiffer(check.publisher_id, currency_code, earned_micros, check.credited.get(currency_code, 0))
