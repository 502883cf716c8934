"""A crash at each step of each operation: once the job has run, the hold matches the campaign's state."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
from adplatform.campaign.v1 import campaign_pb2 as pb
from adplatform.events.v1.events_pb2 import DebtChanged, Event
from structlog.testing import capture_logs

from adlib.db import Database
from adlib.rpc import ServiceProcess
from campaign_service.campaigns import store
from campaign_service.campaigns.model import State
from campaign_service.debts.consumer import DebtHandler
from campaign_service.stats.model import Figures

Client = Any  # conftest's, which cannot be imported
BUDGET = 100_000_000
SPENT = 30_000_000
WALLET = 1_000_000_000
# The calls that change other systems. A crash before and after each covers every pair of our transactions.
STEPS = {
    "payments": ("hold", "release", "post"),
    "network": ("create", "play", "stop", "set_budget"),
}


class Crash(RuntimeError):
    """The process has ended."""


class Steps:
    """Counts the steps before and after each call to another system, and crashes at one of them."""

    def __init__(self, outside: Any) -> None:
        self.left: int | None = None
        for system, names in STEPS.items():
            for name in names:
                setattr(getattr(outside, system), name, self._counted(getattr(getattr(outside, system), name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self._step()
            answer = call(*arguments, **named)
            self._step()
            return answer

        return counted

    def _step(self) -> None:
        if self.left is not None:
            if self.left <= 0:
                # A process that has ended makes no further calls while the stack unwinds.
                raise Crash
            self.left -= 1

    @contextmanager
    def crashing(self, after: int) -> Iterator[None]:
        self.left = after
        yield
        self.crashed, self.left = self.left == 0, None


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


def draft(client: Client) -> str:
    return str(client.create(budget_micros=BUDGET).id)


def active(client: Client) -> str:
    """ACTIVE, with some of its budget spent."""
    campaign_id = client.start(draft(client)).id
    figures = Figures(impressions=1000, spend_micros=SPENT)
    client.outside.network.report(client.external_id(campaign_id), date(2030, 1, 15), "", figures)
    assert client.sync().success
    return str(campaign_id)


def paused(client: Client) -> str:
    return str(client.pause(active(client)).id)


def idle(client: Client) -> str:
    """PAUSED, without delivery."""
    return str(client.pause(client.start(draft(client)).id).id)


def pending_start(client: Client) -> str:
    campaign_id = draft(client)
    client.outside.network.loses_answers = True
    with suppress(grpc.RpcError):
        client.start(campaign_id)
    client.outside.network.loses_answers = False
    return campaign_id


def exhausted(client: Client) -> str:
    campaign_id = active(client)
    figures = Figures(impressions=1000, spend_micros=BUDGET)
    client.outside.network.report(client.external_id(campaign_id), date(2030, 1, 15), "", figures)
    return campaign_id


def underfunded(client: Client) -> str:
    """ACTIVE, with a hold below the expected one."""
    campaign_id = active(client)
    lost = min(client.outside.payments.held_micros[UUID(campaign_id)], 10_000_000)
    client.outside.payments.held_micros[UUID(campaign_id)] -= lost
    client.outside.payments.available_micros += lost
    client.outside.clock.at += timedelta(minutes=5)
    return campaign_id


OPERATIONS: dict[str, tuple[Callable[[Client], str], Callable[[Client, str], Any]]] = {
    "start": (draft, lambda client, id: client.start(id)),
    "resume": (paused, lambda client, id: client.start(id)),
    "pause": (active, lambda client, id: client.pause(id)),
    "raise while active": (active, lambda client, id: client.update(id, budget_micros=150_000_000)),
    "raise while paused": (paused, lambda client, id: client.update(id, budget_micros=150_000_000)),
    "lower while active": (active, lambda client, id: client.update(id, budget_micros=60_000_000)),
    "lower to the spend": (paused, lambda client, id: client.update(id, budget_micros=SPENT)),
    "delete a paused campaign": (paused, lambda client, id: client.delete(id)),
    "delete a campaign without delivery": (idle, lambda client, id: client.delete(id)),
    "delete a pending start": (pending_start, lambda client, id: client.delete(id)),
    "exhaust": (exhausted, lambda client, id: client.sync()),
    "sweep": (underfunded, lambda client, id: client.sweep()),
}


def check(client: Client, db: Database, campaign_id: str, *, over: bool = False) -> None:
    """Checks that the hold, the network and the wallet match the campaign's state."""
    payments, network = client.outside.payments, client.outside.network
    campaign = store.get_with_deleted(db, client.organization_id, UUID(campaign_id))
    spent = sum(one.amount_micros for one in payments.spends if one.campaign_id == campaign.id)
    held = payments.held_micros.get(campaign.id, 0)
    is_read = campaign.state is State.COMPLETED and spent > 0 and not over
    holds = campaign.state in (State.ACTIVE, State.PAUSED) or is_read
    assert held == (campaign.budget_micros - spent if holds else 0), campaign
    assert payments.available_micros == WALLET - held - spent
    assert campaign.budget_change is None
    assert not campaign.is_resuming
    for there in (one for one in network.campaigns.values() if campaign_id in one.name):
        assert there.is_playing == (campaign.state is State.ACTIVE)
        assert there.budget_micros == campaign.budget_micros or campaign.state is State.DRAFT
    assert sum(campaign_id in one.name for one in network.campaigns.values()) <= 1


@pytest.mark.parametrize("operation", OPERATIONS)
def test_job_repairs_hold_and_state_after_a_crash_at_any_step(client: Client, db: Database, operation: str) -> None:
    make, act = OPERATIONS[operation]
    steps = Steps(client.outside)
    after = 0
    while True:
        client.outside.payments.available_micros = WALLET
        client.outside.clock.at = client.outside.clock.at.replace(day=15, hour=12, minute=0)
        campaign_id = make(client)
        with steps.crashing(after), suppress(grpc.RpcError):
            act(client, campaign_id)
        client.outside.clock.at += timedelta(minutes=5)
        for _ in range(2):
            client.sync()
        if operation == "sweep":
            client.sweep()
        if operation == "pause":
            # Only users pause. Until the user repeats the call, the campaign is ACTIVE and does not deliver.
            act(client, campaign_id)
        check(client, db, campaign_id)
        client.outside.clock.at += timedelta(days=3, minutes=1)
        client.sync()
        client.sweep()
        check(client, db, campaign_id, over=True)
        if not steps.crashed:
            break
        leave(client, db, campaign_id)
        after += 1
    assert after >= (0 if operation == "delete a paused campaign" else 2), "there was no step to crash at"


def test_job_completes_a_suspension_after_a_crash_at_any_step(client: Client, worker: ServiceProcess) -> None:
    (debts,) = [one._handle for one in worker.background if isinstance(getattr(one, "_handle", None), DebtHandler)]
    owed = DebtChanged(currency_code="USD", debt_micros=WALLET)
    event = Event(organization_id=str(client.organization_id), debt_changed=owed).SerializeToString()
    steps, payments = Steps(client.outside), client.outside.payments
    after = 0
    while True:
        payments.available_micros, payments.debt_micros = WALLET, 0
        campaign_id = active(client)
        figures = Figures(impressions=1000, spend_micros=2 * SPENT)
        client.outside.network.report(client.external_id(campaign_id), date(2030, 1, 15), "", figures)
        payments.available_micros, payments.debt_micros = 0, WALLET
        with steps.crashing(after), suppress(Crash):
            debts([event])
        client.outside.clock.at += timedelta(seconds=1)
        client.sync()
        campaign = client.get(campaign_id)
        assert (campaign.state, list(campaign.state_reasons)) == (
            pb.Campaign.PAUSED,
            [pb.Campaign.PAYMENT_DISPUTED],
        )
        assert not client.outside.network.campaigns[client.external_id(campaign_id)].is_playing
        assert payments.held_micros[UUID(campaign_id)] == 0
        assert client.stats(campaign_id).total.spent_micros == 2 * SPENT
        assert (payments.available_micros, payments.debt_micros) == (0, WALLET - (BUDGET - 2 * SPENT))
        if not steps.crashed:
            break
        after += 1
    assert after >= 4, "it stops, posts and releases"


def leave(client: Client, db: Database, campaign_id: str) -> None:
    """Removes the campaign from the next rounds."""
    campaign = store.get_with_deleted(db, client.organization_id, UUID(campaign_id))
    client.outside.payments.held_micros.pop(campaign.id, None)
    if campaign.deleted_at is None:
        if campaign.state is State.ACTIVE:
            client.pause(campaign_id)
        client.delete(campaign_id)
    for id in [id for id, one in client.outside.network.campaigns.items() if campaign_id in one.name]:
        client.outside.network.campaigns[id].figures.clear()
    client.outside.clock.at += timedelta(days=3, minutes=1)
    client.sync()
