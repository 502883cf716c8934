"""Deleting campaigns: what is gone for their organization, and what is still to be spent and given back."""

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
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


def spend(client: Client, campaign_id: str, spend_micros: int) -> None:
    figures = Figures(impressions=1000, spend_micros=spend_micros)
    client.outside.network.report(client.external_id(campaign_id), date(2030, 1, 15), "", figures)


def paused(client: Client) -> str:
    return str(client.pause(client.start(client.create().id).id).id)


def test_a_deleted_campaign_is_not_there(client: Client, refused: Refused) -> None:
    kept, gone = client.create(name="kept").id, paused(client)
    client.delete(gone)
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
            call(gone)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "CAMPAIGN_NOT_FOUND")
    listed = client.stub.ListCampaigns(pb.ListCampaignsRequest(), metadata=client.headers).campaigns
    assert [one.id for one in listed] == [kept]
    directory = campaign_pb2_grpc.CampaignDirectoryServiceStub(client.channel)
    request = pb.LookUpCampaignRequest(organization_id=str(client.organization_id), campaign_id=gone)
    with refused() as refusal:
        directory.LookUpCampaign(request, metadata=client.outside.identities.service_headers("pixel-service"))
    assert refusal.reason == "CAMPAIGN_NOT_FOUND"


def test_what_is_active_is_not_deleted(client: Client, refused: Refused) -> None:
    campaign_id = client.start(client.create().id).id
    with refused() as refusal:
        client.delete(campaign_id)
    assert (refusal.reason, refusal.metadata["state"]) == ("CAMPAIGN_STATE_INVALID", "ACTIVE")
    assert client.get(campaign_id).state == pb.Campaign.ACTIVE


def test_deleting_takes_its_permission_and_ones_own_campaign(new_client: Any, refused: Refused) -> None:
    reader, stranger = new_client(Permission.CAMPAIGNS_UPDATE, Permission.CAMPAIGNS_CREATE), new_client()
    campaign_id = reader.create().id
    with refused() as refusal:
        reader.delete(campaign_id)
    assert refusal.reason == "PERMISSION_MISSING"
    with refused() as refusal:
        stranger.delete(campaign_id)
    assert refusal.reason == "CAMPAIGN_NOT_FOUND"


def test_a_draft_is_deleted_at_once(client: Client) -> None:
    client.delete(client.create().id)
    assert client.outside.network.campaigns == {}


@pytest.mark.parametrize("where", ["payments", "network"])
def test_a_start_that_was_cut_off_is_taken_back_with_its_hold(client: Client, refused: Refused, where: str) -> None:
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
    assert client.get(campaign_id).state == pb.Campaign.DRAFT, "the job does not start what is to be deleted"
    assert client.outside.payments.available_micros == WALLET
    client.delete(campaign_id)
    assert not any(one.plays for one in client.outside.network.campaigns.values())


def test_what_was_spent_before_it_stopped_is_taken_and_then_the_rest_is_given_back(client: Client) -> None:
    campaign_id = paused(client)
    client.delete(campaign_id)
    spend(client, campaign_id, 30_000_000)
    assert client.sync().success
    payments = client.outside.payments
    assert sum(one.amount_micros for one in payments.spends) == 30_000_000
    assert payments.held_micros[UUID(campaign_id)] == BUDGET - 30_000_000
    client.outside.clock.at += timedelta(days=3, seconds=1)
    for _ in range(2):
        assert client.sync().success
    assert (payments.held_micros[UUID(campaign_id)], payments.available_micros) == (0, WALLET - 30_000_000)


def test_a_completed_campaign_is_deleted_and_its_rest_given_back_in_time(client: Client) -> None:
    end = client.outside.clock.now() + timedelta(hours=1)
    campaign_id = client.start(client.create(end_time=timestamp(end)).id).id
    client.outside.clock.at = end
    assert client.sync().success
    client.delete(campaign_id)
    client.outside.clock.at += timedelta(days=3, seconds=1)
    assert client.sync().success
    assert client.outside.payments.available_micros == WALLET


def test_a_campaign_that_was_about_to_be_played_again_is_stopped_first(client: Client, refused: Refused) -> None:
    campaign_id = paused(client)
    client.outside.network.loses_answers = True
    with refused():
        client.start(campaign_id)
    at_network = client.outside.network.campaigns[client.external_id(campaign_id)]
    assert at_network.plays
    with refused() as refusal:
        client.delete(campaign_id)
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    client.outside.network.loses_answers = False
    client.delete(campaign_id)
    assert not at_network.plays


def refused_start(client: Client, refused: Refused) -> str:
    """A start that the network refuses to play, and to stop."""
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


def test_a_start_that_the_network_neither_plays_nor_stops_ends_by_itself(client: Client, refused: Refused) -> None:
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


def test_a_start_that_the_network_stops_after_all_is_a_draft_again(client: Client, refused: Refused) -> None:
    campaign_id = refused_start(client, refused)
    client.outside.network.refuses = ""
    client.outside.clock.at += timedelta(minutes=2)
    assert client.sync().success
    assert client.get(campaign_id).state == pb.Campaign.DRAFT
    assert client.outside.payments.available_micros == WALLET


def test_a_start_that_the_network_neither_plays_nor_stops_can_be_deleted(client: Client, refused: Refused) -> None:
    campaign_id = refused_start(client, refused)
    client.delete(campaign_id)
    spend(client, campaign_id, 5_000_000)
    assert client.sync().success
    client.outside.clock.at += timedelta(days=3, seconds=1)
    assert client.sync().success
    assert client.outside.payments.available_micros == WALLET - 5_000_000
