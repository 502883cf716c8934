"""Creating, reading and editing campaigns over gRPC."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import grpc
import pytest
from adplatform.campaign.v1 import campaign_pb2 as pb
from adplatform.campaign.v1 import campaign_pb2_grpc
from adplatform.options.v1.options_pb2 import Permission
from google.protobuf.timestamp_pb2 import Timestamp

from adlib.clock import timestamp

Client = Any  # conftest's, which cannot be imported
Refused = Callable[[], AbstractContextManager[Any]]


@pytest.fixture
def database_url(shared_database_url: str) -> str:
    return shared_database_url


def test_new_campaign_is_a_draft_with_defaults(client: Client) -> None:
    campaign = client.create()
    assert campaign.state == pb.Campaign.DRAFT
    assert campaign.organization_id == str(client.organization_id)
    assert (campaign.currency_code, list(campaign.networks)) == ("USD", [pb.TRAFFIC_ENGINE])
    assert not campaign.HasField("daily_budget_micros")
    assert client.get(campaign.id) == campaign


def test_created_campaign_has_every_sent_field(client: Client, outside: Any) -> None:
    now = outside.clock.now()
    sent = {
        "daily_budget_micros": 7_000_000,
        "start_time": timestamp(now + timedelta(days=1)),
        "end_time": timestamp(now + timedelta(days=2)),
        "targeting": pb.Targeting(countries=["DE", "AT"], devices=[pb.Targeting.MOBILE]),
    }
    read = client.get(client.create(**sent).id)
    for name, value in sent.items():
        assert getattr(read, name) == value


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"networks": [pb.REVIVE]}, "NETWORK_NOT_AVAILABLE"),
        ({"networks": [pb.TRAFFIC_ENGINE, pb.REVIVE]}, "NETWORK_NOT_AVAILABLE"),
        ({"currency_code": "CHF"}, "CURRENCY_UNSUPPORTED"),
        ({"currency_code": "EUR"}, "CURRENCY_UNSUPPORTED"),
        ({"budget_micros": -1}, "INVALID_FIELD"),
        ({"budget_micros": 10**15 + 1}, "INVALID_FIELD"),
        ({"daily_budget_micros": 100_000_001}, "INVALID_FIELD"),
        ({"name": "a\0b"}, "INVALID_FIELD"),
        ({"name": ""}, "INVALID_FIELD"),
        ({"target_url": "ftp://example.com"}, "INVALID_FIELD"),
        ({"start_time": Timestamp(seconds=10**17)}, "INVALID_FIELD"),
        ({"start_time": Timestamp(seconds=9), "end_time": Timestamp(seconds=9)}, "INVALID_FIELD"),
    ],
)
def test_invalid_campaign_is_refused(client: Client, refused: Refused, changes: dict[str, Any], reason: str) -> None:
    with refused() as refusal:
        client.create(**changes)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


def test_repeated_idempotency_key_creates_one_campaign(client: Client, refused: Refused) -> None:
    first = client.create(key="one")
    assert client.create(key="one") == first
    with refused() as refusal:
        client.create(key="one", name="Summer")
    assert refusal.reason == "IDEMPOTENCY_KEY_REUSED"
    listed = client.stub.ListCampaigns(pb.ListCampaignsRequest(), metadata=client.headers)
    assert [campaign.id for campaign in listed.campaigns] == [first.id]


def test_pages_are_stable_while_campaigns_are_created(client: Client) -> None:
    made = [client.create(name=f"n{number}").id for number in range(5)]
    seen, token = [], ""
    while True:
        request = pb.ListCampaignsRequest(page_size=2, page_token=token)
        answer = client.stub.ListCampaigns(request, metadata=client.headers)
        seen += [campaign.id for campaign in answer.campaigns]
        client.create(name="later")
        if not (token := answer.next_page_token):
            break
    assert seen == made[::-1]


def test_list_filters_by_state(client: Client) -> None:
    client.create()
    started = client.start(client.create().id)
    request = pb.ListCampaignsRequest(state=pb.Campaign.ACTIVE)
    listed = client.stub.ListCampaigns(request, metadata=client.headers)
    assert list(listed.campaigns) == [started]


@pytest.mark.parametrize("query", ["spring", "SALE", "sprnig sale", "Spring Sael", "%"])
def test_search_tolerates_typing_errors(client: Client, query: str) -> None:
    sale = client.create(name="Spring sale 100% off")
    client.create(name="Winter boots")
    for request in (
        pb.ListCampaignsRequest(query=query),
        pb.ListCampaignsRequest(query=query, state=pb.Campaign.DRAFT),
    ):
        listed = client.stub.ListCampaigns(request, metadata=client.headers)
        assert [campaign.id for campaign in listed.campaigns] == [sale.id]


def test_invalid_page_token_is_refused(client: Client, refused: Refused) -> None:
    with refused() as refusal:
        client.stub.ListCampaigns(pb.ListCampaignsRequest(page_token="nonsense"), metadata=client.headers)
    assert refusal.reason == "PAGE_TOKEN_INVALID"


def test_update_changes_only_sent_fields(client: Client) -> None:
    before = client.create(daily_budget_micros=7, targeting=pb.Targeting(countries=["DE"]))
    after = client.update(before.id, name="Summer", targeting=pb.Targeting())
    assert (after.name, list(after.targeting.countries)) == ("Summer", [])
    assert (after.daily_budget_micros, after.target_url) == (7, before.target_url)
    assert after.etag != before.etag
    assert after.update_time.ToMicroseconds() > before.update_time.ToMicroseconds()


def test_stale_etag_is_refused(client: Client, refused: Refused) -> None:
    before = client.create()
    now = client.update(before.id, name="Summer", etag=before.etag)
    with refused() as refusal:
        client.update(before.id, name="Autumn", etag=before.etag)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert client.get(before.id) == now


def test_update_validates_the_merged_campaign(client: Client, refused: Refused) -> None:
    campaign = client.create(daily_budget_micros=50_000_000, start_time=Timestamp(seconds=4 * 10**9))
    with refused() as refusal:
        client.update(campaign.id, budget_micros=40_000_000)
    assert "budgetMicros must be at least 50000000" in refusal.message
    with refused() as refusal:
        client.update(campaign.id, end_time=Timestamp(seconds=3 * 10**9))
    assert "endTime" in refusal.message


def test_started_campaign_has_locked_fields(client: Client, refused: Refused) -> None:
    campaign = client.start(client.create(end_time=Timestamp(seconds=4 * 10**9)).id)
    for field, changes in {
        "dailyBudgetMicros": {"daily_budget_micros": 1},
        "startTime": {"start_time": Timestamp(seconds=5)},
        "endTime": {"end_time": Timestamp(seconds=5)},
        "targeting": {"targeting": pb.Targeting(countries=["FR"])},
        "bid": {"bid": pb.Bid(model=pb.Bid.CPC, price_micros=1)},
    }.items():
        with refused() as refusal:
            client.update(campaign.id, **changes)
        assert (refusal.reason, refusal.metadata["field"]) == ("CAMPAIGN_FIELD_LOCKED", field)
    # A locked field with its current value is accepted, so clients can PUT a whole campaign.
    after = client.update(
        campaign.id, name="Summer", target_url="https://shop.example.com/summer", budget_micros=campaign.budget_micros
    )
    assert (after.name, after.target_url) == ("Summer", "https://shop.example.com/summer")


def test_other_organizations_campaign_is_not_found(client: Client, new_client: Any, refused: Refused) -> None:
    campaign, stranger = client.create(), new_client()
    for call in (
        lambda: stranger.get(campaign.id),
        lambda: stranger.update(campaign.id, name="mine"),
        lambda: stranger.start(campaign.id),
        lambda: stranger.pause(campaign.id),
        lambda: stranger.stats(campaign.id),
    ):
        with refused() as refusal:
            call()
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "CAMPAIGN_NOT_FOUND")
    assert not stranger.stub.ListCampaigns(pb.ListCampaignsRequest(), metadata=stranger.headers).campaigns
    assert client.get(campaign.id) == campaign
    assert client.outside.network.campaigns == {}


def test_permission_is_checked_before_existence(client: Client, new_client: Any, refused: Refused) -> None:
    reader = new_client(Permission.CAMPAIGNS_READ)
    with refused() as refusal:
        reader.start(client.create().id)
    assert (refusal.reason, refusal.metadata["required"]) == ("PERMISSION_MISSING", "CAMPAIGNS_START")


def test_only_listed_services_look_up_campaigns(
    client: Client, new_client: Any, outside: Any, refused: Refused
) -> None:
    campaign = client.create()
    directory = campaign_pb2_grpc.CampaignDirectoryServiceStub(client.channel)
    request = pb.LookUpCampaignRequest(organization_id=str(client.organization_id), campaign_id=campaign.id)
    found = directory.LookUpCampaign(request, metadata=outside.identities.service_headers("pixel-service"))
    assert (found.target_url, found.currency_code, found.name) == (campaign.target_url, "USD", "Spring")
    with refused() as refusal:
        directory.LookUpCampaign(request, metadata=outside.identities.service_headers("payment-service"))
    assert refusal.reason == "SERVICE_NOT_ALLOWED"
    request.organization_id = str(new_client().organization_id)
    with refused() as refusal:
        directory.LookUpCampaign(request, metadata=outside.identities.service_headers("pixel-service"))
    assert refusal.reason == "CAMPAIGN_NOT_FOUND"
