"""Deleting campaigns, and charging and releasing their holds afterwards."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
from adplatform.campaign.v1 import campaign_pb2 as pb
from adplatform.campaign.v1 import campaign_pb2_grpc
from adplatform.options.v1.options_pb2 import Permission
from structlog.testing import capture_logs

from adlib.clock import timestamp
from campaign_service.stats.model import Figures

Client = Any  # conftest's, which cannot be imported
Refused = Callable[[], AbstractContextManager[Any]]
BUDGET = 100_000_000
WALLET = 1_000_000_000


@pytest.fixture(autouse=True)
def logs() -> Iterator[Any]:
    with capture_logs() as captured:
        yield captured


def spend(client: Client, campaign_id: str, spend_micros: int) -> None:
    figures = Figures(impressions=1000, spend_micros=spend_micros)
    client.outside.network.report(client.external_id(campaign_id), date(2030, 1, 15), "", figures)


def paused(client: Client) -> str:
    return str(client.pause(client.start(client.create().id).id).id)


def test_deleted_campaign_is_not_found(client: Client, refused: Refused) -> None:
    remaining, deleted = client.create(name="remaining").id, paused(client)
    client.delete(deleted)
    for call in (
        client.get,
        client.start,
        client.pause,
        client.delete,
        client.stats,
        lambda id: client.update(id, name="b"),
        lambda id: client.update(id, budget_micros=1),
    ):
        with refused() as refusal:
            call(deleted)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "CAMPAIGN_NOT_FOUND")
    listed = client.stub.ListCampaigns(pb.ListCampaignsRequest(), metadata=client.headers).campaigns
    assert [one.id for one in listed] == [remaining]
    directory = campaign_pb2_grpc.CampaignDirectoryServiceStub(client.channel)
    request = pb.LookUpCampaignRequest(organization_id=str(client.organization_id), campaign_id=deleted)
    with refused() as refusal:
        directory.LookUpCampaign(request, metadata=client.outside.identities.service_headers("pixel-service"))
    assert refusal.reason == "CAMPAIGN_NOT_FOUND"


def test_active_campaign_cannot_be_deleted(client: Client, refused: Refused) -> None:
    campaign_id = client.start(client.create().id).id
    with refused() as refusal:
        client.delete(campaign_id)
    assert (refusal.reason, refusal.metadata["state"]) == ("CAMPAIGN_STATE_INVALID", "ACTIVE")
    assert client.get(campaign_id).state == pb.Campaign.ACTIVE


def test_delete_requires_permission_and_own_campaign(new_client: Any, refused: Refused) -> None:
    reader, stranger = new_client(Permission.CAMPAIGNS_UPDATE, Permission.CAMPAIGNS_CREATE), new_client()
    campaign_id = reader.create().id
    with refused() as refusal:
        reader.delete(campaign_id)
    assert refusal.reason == "PERMISSION_MISSING"
    with refused() as refusal:
        stranger.delete(campaign_id)
    assert refusal.reason == "CAMPAIGN_NOT_FOUND"


def test_draft_can_be_deleted(client: Client) -> None:
    client.delete(client.create().id)
    assert client.outside.network.campaigns == {}


@pytest.mark.parametrize("where", ["payments", "network"])
def test_deleting_a_pending_start_releases_its_hold(client: Client, refused: Refused, where: str) -> None:
    campaign_id, system = client.create().id, getattr(client.outside, where)
    system.loses_answers = True
    with refused():
        client.start(campaign_id)
    with refused() as refusal:
        client.delete(campaign_id)
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    system.loses_answers = False
    client.outside.clock.at += timedelta(minutes=2)
    client.sync()
    assert client.get(campaign_id).state == pb.Campaign.DRAFT, "the job does not start a campaign that is being deleted"
    assert client.outside.payments.available_micros == WALLET
    client.delete(campaign_id)
    assert not any(one.is_playing for one in client.outside.network.campaigns.values())


def test_spend_before_deletion_is_charged_before_the_release(client: Client) -> None:
    campaign_id = paused(client)
    spend(client, campaign_id, 20_000_000)
    client.delete(campaign_id)
    payments = client.outside.payments
    assert payments.held_micros[UUID(campaign_id)] == BUDGET, "the network has spend that is not charged yet"
    spend(client, campaign_id, 30_000_000)
    assert client.sync().success
    assert sum(one.amount_micros for one in payments.spends) == 30_000_000
    assert payments.held_micros[UUID(campaign_id)] == BUDGET - 30_000_000
    client.outside.clock.at += timedelta(days=3, seconds=1)
    for _ in range(2):
        assert client.sync().success
    assert (payments.held_micros[UUID(campaign_id)], payments.available_micros) == (0, WALLET - 30_000_000)


def ended(client: Client) -> str:
    end = client.outside.clock.now() + timedelta(hours=1)
    campaign_id = client.start(client.create(end_time=timestamp(end)).id).id
    client.outside.clock.at = end
    assert client.sync().success
    return str(campaign_id)


def held(client: Client, campaign_id: str) -> int:
    return int(client.outside.payments.held_micros[UUID(campaign_id)])


def report(client: Client, campaign_id: str, figures: Figures, day: date = date(2030, 1, 15)) -> None:
    client.outside.network.report(client.external_id(campaign_id), day, "", figures)


@pytest.mark.parametrize("make", [paused, ended])
def test_hold_is_released_at_once_without_delivery(client: Client, make: Callable[[Client], str]) -> None:
    campaign_id = make(client)
    report(client, campaign_id, Figures())
    client.delete(campaign_id)
    assert (held(client, campaign_id), client.outside.payments.available_micros) == (0, WALLET)
    client.outside.clock.at += timedelta(minutes=5)
    assert client.sync().success
    assert client.sweep().message == "0 repaired; 0 compared"
    assert client.outside.payments.available_micros == WALLET


FIGURES = {
    "an impression": Figures(impressions=1),
    "a click": Figures(clicks=1),
    "a conversion": Figures(conversions=1),
    "spend": Figures(spend_micros=1),
}


@pytest.mark.parametrize("delivered", FIGURES.values(), ids=FIGURES)
@pytest.mark.parametrize("is_read", [False, True], ids=["at the network", "stored"])
def test_hold_is_kept_after_any_delivery(client: Client, delivered: Figures, is_read: bool) -> None:
    campaign_id = paused(client)
    report(client, campaign_id, delivered)
    if is_read:
        assert client.sync().success
        client.outside.network.campaigns[client.external_id(campaign_id)].figures.clear()
    before = held(client, campaign_id)
    client.delete(campaign_id)
    assert held(client, campaign_id) == before
    client.outside.clock.at += timedelta(days=3, seconds=1)
    assert client.sync().success
    assert held(client, campaign_id) == 0


def test_hold_is_kept_after_delivery_ten_days_before_deletion(client: Client) -> None:
    campaign_id = client.start(client.create().id).id
    report(client, campaign_id, Figures(impressions=1))
    client.outside.clock.at += timedelta(days=10)
    client.pause(campaign_id)
    client.delete(campaign_id)
    assert held(client, campaign_id) == BUDGET


@pytest.mark.parametrize("state", ["is down", "refuses"])
def test_hold_is_kept_while_the_network_does_not_answer(client: Client, state: str) -> None:
    campaign_id, network = paused(client), client.outside.network
    network.is_down, network.refuses = state == "is down", "it is over" if state == "refuses" else ""
    client.delete(campaign_id)
    network.is_down, network.refuses = False, ""
    client.outside.clock.at += timedelta(minutes=5)
    assert client.sync().success
    assert held(client, campaign_id) == BUDGET
    client.outside.clock.at += timedelta(days=3)
    assert client.sync().success
    assert client.outside.payments.available_micros == WALLET


def test_delete_stops_the_network_before_reading_it(client: Client) -> None:
    campaign_id = paused(client)
    there = client.outside.network.campaigns[client.external_id(campaign_id)]
    there.is_playing = True  # another user of the network played it
    client.delete(campaign_id)
    assert (there.is_playing, held(client, campaign_id)) == (False, 0)


@pytest.mark.parametrize("failure", ["is_down", "loses_answers"])
def test_job_releases_the_hold_after_a_ledger_outage(client: Client, failure: str) -> None:
    campaign_id, payments = paused(client), client.outside.payments
    setattr(payments, failure, True)
    client.delete(campaign_id)
    setattr(payments, failure, False)
    client.outside.clock.at += timedelta(minutes=2)
    assert client.sweep().message.startswith("0 repaired; "), "it is the job's to end"
    assert client.sync().success
    assert (held(client, campaign_id), payments.available_micros) == (0, WALLET)
    client.outside.clock.at += timedelta(minutes=5)
    assert client.sweep().message == "0 repaired; 0 compared"


def test_spend_reported_before_the_release_is_charged(client: Client) -> None:
    campaign_id, payments = paused(client), client.outside.payments
    payments.is_down = True
    client.delete(campaign_id)
    spend(client, campaign_id, 5_000_000)
    client.sync()
    payments.is_down = False
    client.outside.clock.at += timedelta(minutes=2)
    for _ in range(2):
        assert client.sync().success
        client.outside.clock.at += timedelta(minutes=2)
    assert (held(client, campaign_id), payments.available_micros) == (0, WALLET - 5_000_000)


def test_spend_reported_after_the_release_is_logged_once_and_not_charged(client: Client, logs: Any) -> None:
    campaign_id = paused(client)
    client.delete(campaign_id)
    spend(client, campaign_id, 5_000_000)
    for _ in range(3):
        assert client.sync().success
        client.outside.clock.at += timedelta(minutes=5)
    assert client.outside.payments.available_micros == WALLET
    said = [log for log in logs if log["event"] == "spend_not_held"]
    assert [(log["campaign"], log["amount_micros"]) for log in said] == [(campaign_id, 5_000_000)]
    assert client.sweep().message == "0 repaired; 0 compared"


def test_deleted_completed_campaign_releases_its_hold_when_figures_are_final(client: Client) -> None:
    campaign_id = ended(client)
    report(client, campaign_id, Figures(impressions=1))
    client.delete(campaign_id)
    assert held(client, campaign_id) == BUDGET
    client.outside.clock.at += timedelta(days=3, seconds=1)
    assert client.sync().success
    assert client.outside.payments.available_micros == WALLET


def test_deleting_a_resuming_campaign_stops_it_first(client: Client, refused: Refused) -> None:
    campaign_id = paused(client)
    client.outside.network.loses_answers = True
    with refused():
        client.start(campaign_id)
    at_network = client.outside.network.campaigns[client.external_id(campaign_id)]
    assert at_network.is_playing
    with refused() as refusal:
        client.delete(campaign_id)
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    client.outside.network.loses_answers = False
    client.delete(campaign_id)
    assert not at_network.is_playing


def refused_start(client: Client, refused: Refused) -> str:
    """A start where the network rejects both playing and stopping the campaign."""
    campaign_id, network = client.create().id, client.outside.network
    create = network.create

    def refuse_from_now_on(name: str, made: Any) -> Any:
        external_id = create(name, made)
        network.refuses = "it is none of mine"
        return external_id

    network.create = refuse_from_now_on
    with refused() as refusal:
        client.start(campaign_id)
    assert refusal.reason == "NETWORK_REJECTED"
    assert client.outside.payments.held_micros[UUID(campaign_id)] == BUDGET
    return str(campaign_id)


def test_campaign_neither_played_nor_stopped_completes_after_a_day(client: Client, refused: Refused) -> None:
    campaign_id = refused_start(client, refused)
    client.outside.clock.at += timedelta(hours=23)
    client.sync()
    assert client.get(campaign_id).state == pb.Campaign.DRAFT, "it may be the network's passing fault"
    client.outside.clock.at += timedelta(hours=2)
    client.sync()
    campaign = client.get(campaign_id)
    assert (campaign.state, list(campaign.state_reasons)) == (
        pb.Campaign.COMPLETED,
        [pb.Campaign.NETWORK_REJECTED],
    )
    assert client.outside.payments.held_micros[UUID(campaign_id)] == BUDGET, "it may have delivered"
    client.outside.clock.at += timedelta(days=3, seconds=1)
    assert client.sync().success
    assert client.outside.payments.available_micros == WALLET


def test_rejected_start_becomes_a_draft_once_the_network_stops_it(client: Client, refused: Refused) -> None:
    campaign_id = refused_start(client, refused)
    client.outside.network.refuses = ""
    client.outside.clock.at += timedelta(minutes=2)
    assert client.sync().success
    assert client.get(campaign_id).state == pb.Campaign.DRAFT
    assert client.outside.payments.available_micros == WALLET


def test_campaign_neither_played_nor_stopped_can_be_deleted(client: Client, refused: Refused) -> None:
    campaign_id = refused_start(client, refused)
    client.delete(campaign_id)
    spend(client, campaign_id, 5_000_000)
    assert client.sync().success
    client.outside.clock.at += timedelta(days=3, seconds=1)
    assert client.sync().success
    assert client.outside.payments.available_micros == WALLET - 5_000_000
