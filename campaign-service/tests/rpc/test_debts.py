"""Suspending the campaigns of an organization in debt, whose holds pay the debt."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.campaign.v1 import campaign_pb2 as pb
from adplatform.events.v1.events_pb2 import DebtChanged, Event
from structlog.testing import capture_logs

from adlib.bus import RedisBus
from adlib.db import Database
from adlib.errors import Unavailable
from adlib.rpc import ServiceProcess
from adlib.service import connect_redis
from adtesting import eventually, running, stub_channel
from campaign_service.clients.publisher import Owner
from campaign_service.debts.consumer import DebtHandler
from campaign_service.stats.model import Figures

Client = Any  # conftest's, which cannot be imported
Refused = Callable[[], AbstractContextManager[Any]]
UNIT = 1_000_000
BUDGET = 50 * UNIT
ZONE = uuid4()
OWNER = Owner(uuid4(), uuid4(), 7000)
DAY = date(2030, 1, 15)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.fixture
def debts(worker: ServiceProcess) -> DebtHandler:
    """The event handler; the channel's service runs without its consumers."""
    (found,) = [one._handle for one in worker.background if isinstance(getattr(one, "_handle", None), DebtHandler)]
    return found  # type: ignore[no-any-return]


@pytest.fixture
def owes(client: Client, debts: DebtHandler) -> Callable[[int], None]:
    def owes(debt_micros: int, *, announced: bool = True) -> None:
        client.outside.payments.debt_micros = debt_micros
        client.outside.payments.available_micros = 0
        client.outside.publishers.known[ZONE] = OWNER
        if announced:
            debts([event(client, debt_micros)])

    return owes


def event(client: Client, debt_micros: int, currency_code: str = "USD") -> bytes:
    changed = DebtChanged(currency_code=currency_code, debt_micros=debt_micros)
    found = Event(id=str(uuid4()), organization_id=str(client.organization_id), debt_changed=changed)
    return found.SerializeToString()


def draft(client: Client) -> str:
    return str(client.create(budget_micros=BUDGET).id)


def active(client: Client) -> str:
    return str(client.start(draft(client)).id)


def paused(client: Client) -> str:
    return str(client.pause(active(client)).id)


def delivers(client: Client, campaign_id: str, spend_micros: int) -> None:
    figures = Figures(impressions=spend_micros // 5000, spend_micros=spend_micros)
    client.outside.network.report(client.external_id(campaign_id), DAY, str(ZONE), figures)


def held(client: Client, campaign_id: str) -> int:
    return int(client.outside.payments.held_micros.get(UUID(campaign_id), 0))


def spent(client: Client, campaign_id: str) -> int:
    return int(client.stats(campaign_id).total.spent_micros)


def plays(client: Client, campaign_id: str) -> bool:
    return bool(client.outside.network.campaigns[client.external_id(campaign_id)].is_playing)


def state(client: Client, campaign_id: str) -> tuple[int, list[int]]:
    campaign = client.get(campaign_id)
    return campaign.state, list(campaign.state_reasons)


DISPUTED = (pb.Campaign.PAUSED, [pb.Campaign.PAYMENT_DISPUTED])


def test_debt_pauses_active_campaign_charges_it_and_is_paid_from_its_hold(client: Client, owes: Any) -> None:
    campaign_id = active(client)
    delivers(client, campaign_id, 20 * UNIT)
    owes(40 * UNIT)
    assert state(client, campaign_id) == DISPUTED
    assert not plays(client, campaign_id)
    assert (spent(client, campaign_id), held(client, campaign_id)) == (20 * UNIT, 0)
    assert (client.outside.payments.debt_micros, client.outside.payments.available_micros) == (10 * UNIT, 0)
    (spend,) = client.outside.payments.spends
    assert spend.share.publisher_id == OWNER.publisher_id


def test_debt_releases_the_hold_of_a_paused_campaign(client: Client, owes: Any) -> None:
    campaign_id = paused(client)
    delivers(client, campaign_id, 20 * UNIT)
    owes(30 * UNIT)
    assert state(client, campaign_id) == (pb.Campaign.PAUSED, [pb.Campaign.USER])
    assert (spent(client, campaign_id), held(client, campaign_id)) == (20 * UNIT, 0)
    assert client.outside.payments.debt_micros == 0


def test_debt_blocks_start_resume_and_raise(client: Client, owes: Any, refused: Refused) -> None:
    new, running_, waiting, late = draft(client), active(client), paused(client), paused(client)
    owes(10**12, announced=False)
    for call in (
        lambda: client.start(new),
        lambda: client.start(late),
        lambda: client.update(running_, budget_micros=2 * BUDGET),
        lambda: client.update(waiting, budget_micros=2 * BUDGET),
    ):
        with refused() as refusal:
            call()
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ORGANIZATION_IN_DEBT")
        assert refusal.metadata == {"debtMicros": str(10**12)}
    assert not plays(client, late)
    owes(10**12)
    for campaign_id in (running_, waiting, late):
        with refused() as refusal:
            client.start(campaign_id)
        assert refusal.reason == "ORGANIZATION_IN_DEBT"
        with refused() as refusal:
            client.update(campaign_id, budget_micros=2 * BUDGET)
        assert refusal.reason == "ORGANIZATION_IN_DEBT"
        assert (held(client, campaign_id), plays(client, campaign_id)) == (0, False)
        assert client.get(campaign_id).budget_micros == BUDGET
    assert state(client, new) == (pb.Campaign.DRAFT, [])


def test_start_after_a_debt_holds_the_unspent_budget(client: Client, owes: Any, refused: Refused) -> None:
    campaign_id, payments = active(client), client.outside.payments
    delivers(client, campaign_id, 20 * UNIT)
    owes(40 * UNIT)
    client.outside.clock.at += timedelta(minutes=5)
    assert client.sync().success
    assert client.sweep().message == "0 repaired; 1 compared", "it holds nothing, and should not"
    payments.debt_micros, payments.available_micros = 0, 29 * UNIT
    with refused() as refusal:
        client.start(campaign_id)
    assert refusal.reason == "INSUFFICIENT_FUNDS"
    assert state(client, campaign_id) == DISPUTED
    payments.available_micros = 30 * UNIT
    assert client.start(campaign_id).state == pb.Campaign.ACTIVE
    assert (held(client, campaign_id), payments.available_micros) == (30 * UNIT, 0)
    assert plays(client, campaign_id)
    client.outside.clock.at += timedelta(minutes=5)
    assert client.sweep().message == "0 repaired; 1 compared"
    delivers(client, campaign_id, 50 * UNIT)
    assert client.sync().success
    assert state(client, campaign_id) == (pb.Campaign.COMPLETED, [pb.Campaign.BUDGET_EXHAUSTED])


def test_start_interrupted_by_a_debt_releases_its_hold(client: Client, owes: Any, refused: Refused) -> None:
    campaign_id = draft(client)
    client.outside.payments.loses_answers = True
    with refused():
        client.start(campaign_id)
    client.outside.payments.loses_answers = False
    owes(60 * UNIT, announced=False)
    with refused() as refusal:
        client.start(campaign_id)
    assert refusal.reason == "ORGANIZATION_IN_DEBT"
    assert (held(client, campaign_id), client.outside.payments.debt_micros) == (0, 10 * UNIT)
    assert state(client, campaign_id) == (pb.Campaign.DRAFT, [])


def test_debt_cancels_a_pending_start(client: Client, owes: Any, refused: Refused) -> None:
    campaign_id = draft(client)
    client.outside.network.loses_answers = True
    with refused():
        client.start(campaign_id)
    client.outside.network.loses_answers = False
    owes(60 * UNIT)
    assert (held(client, campaign_id), client.outside.payments.debt_micros) == (0, 10 * UNIT)
    client.outside.clock.at += timedelta(minutes=5)
    client.sync()
    assert state(client, campaign_id) == (pb.Campaign.DRAFT, [])
    assert not any(one.is_playing for one in client.outside.network.campaigns.values())


@pytest.mark.parametrize("where", ["network", "publishers"])
def test_failed_suspension_keeps_the_hold_until_the_job_completes_it(
    client: Client, owes: Any, refused: Refused, where: str
) -> None:
    campaign_id = active(client)
    delivers(client, campaign_id, 20 * UNIT)
    system = getattr(client.outside, where)
    system.is_down = True
    owes(40 * UNIT)
    assert held(client, campaign_id) == BUDGET
    with refused() as refusal:
        client.start(campaign_id)
    assert refusal.reason == "ORGANIZATION_IN_DEBT"
    client.outside.clock.at += timedelta(minutes=2)
    client.sync()
    assert held(client, campaign_id) == BUDGET
    system.is_down = False
    assert client.sync().success
    assert state(client, campaign_id) == DISPUTED
    assert (spent(client, campaign_id), held(client, campaign_id)) == (20 * UNIT, 0)
    assert client.outside.payments.debt_micros == 10 * UNIT


def test_locked_campaign_is_suspended_on_redelivery(
    client: Client, owes: Any, db: Database, debts: DebtHandler
) -> None:
    campaign_id = active(client)
    owes(40 * UNIT, announced=False)
    with db.advisory_lock(f"campaign:{campaign_id}"), pytest.raises(Unavailable):
        debts([event(client, 40 * UNIT)])
    assert plays(client, campaign_id)
    debts([event(client, 40 * UNIT)])
    assert state(client, campaign_id) == DISPUTED


def test_late_event_or_other_currency_suspends_nothing(client: Client, debts: DebtHandler, owes: Any) -> None:
    campaign_id = active(client)
    debts([event(client, 40 * UNIT), event(client, 0)])
    owes(40 * UNIT, announced=False)
    debts([event(client, 40 * UNIT, "EUR"), event(client, 0)])
    assert client.get(campaign_id).state == pb.Campaign.ACTIVE
    assert plays(client, campaign_id)


def test_debt_leaves_other_organizations_campaigns_active(client: Client, new_client: Any, owes: Any) -> None:
    own, other = active(client), new_client()
    campaign_id = active(other)
    owes(40 * UNIT)
    assert state(client, own) == DISPUTED
    assert (other.get(campaign_id).state, held(other, campaign_id)) == (pb.Campaign.ACTIVE, BUDGET)


def test_campaign_paused_for_a_debt_can_be_deleted(client: Client, owes: Any) -> None:
    campaign_id = active(client)
    delivers(client, campaign_id, 20 * UNIT)
    owes(40 * UNIT)
    client.delete(campaign_id)
    client.outside.clock.at += timedelta(days=3, minutes=5)
    assert client.sync().success
    assert client.sweep().message == "0 repaired; 0 compared"


def test_sweep_pauses_with_payment_disputed_when_a_debt_blocks_the_repair(client: Client, owes: Any) -> None:
    campaign_id = active(client)
    client.outside.payments.held_micros[UUID(campaign_id)] -= 1
    owes(40 * UNIT, announced=False)
    client.outside.clock.at += timedelta(minutes=5)
    assert client.sweep().message == "1 repaired: 1 paused; 1 compared"
    assert state(client, campaign_id) == DISPUTED


def test_debt_event_from_the_bus_pauses_campaigns(
    worker: ServiceProcess, outside: Any, client: Client, redis_url: str
) -> None:
    campaign_id = active(client)
    outside.payments.debt_micros, outside.payments.available_micros = 40 * UNIT, 0
    shared = connect_redis(redis_url)
    with running(worker) as server, stub_channel(server):
        RedisBus(shared).publish("payment", [event(client, 40 * UNIT)])
        eventually(lambda: state(client, campaign_id) == DISPUTED)
    shared.close()
