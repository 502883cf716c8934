"""A run of the reconciliation job processes every kind of item in turn."""

from dataclasses import dataclass, field
from functools import partial
from uuid import UUID, uuid4

import pytest

from adlib.clock import SystemClock
from adlib.db import Database
from adlib.ids import new_id
from payment_service.quarantine.service import QuarantineService
from payment_service.reconciliation import jobs


@dataclass
class Waiting:
    """An item of a source."""

    id: UUID = field(default_factory=uuid4)


@dataclass
class Work:
    """A source with more items than a run can process."""

    checked: int = 0

    def due(self, limit: int) -> list[Waiting]:
        return [Waiting() for _ in range(limit)]

    unsettled = due

    def check(self, _one: Waiting) -> None:
        self.checked += 1


class Clock:
    """A clock that advances by a second with each reading."""

    now_s = 0.0

    def monotonic(self) -> float:
        self.now_s += 1
        return self.now_s


def test_payouts_are_processed_in_turn_with_many_payments(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payment_service.reconciliation.jobs.time", Clock())
    payments, payouts = Work(), Work()
    quarantine = QuarantineService(db, [], SystemClock(), new_id)
    sources = [partial(jobs.open_payments, payments), partial(jobs.sent_payouts, payouts)]
    jobs.ReconciliationJob(db, quarantine, sources).run()
    assert payments.checked + payouts.checked == 10
    assert payments.checked == payouts.checked
