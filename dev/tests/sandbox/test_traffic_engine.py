"""The TrafficEngine sandbox: valid campaigns, accepted traffic, and its exact cost in micros."""

from uuid import uuid4

import pytest


def _campaign(**changes):
    return {
        "name": f"spring [{uuid4()}]",
        "direction": "onclick",
        "rate_model": "cpm",
        "target_url": "https://shop.example/landing",
        "total_amount": 100,
        "currency": "USD",
        "rates": [{"countries": [], "amount": 2.5}],
        "targeting": {"country": {"list": [], "is_excluded": False}},
        **changes,
    }


def _created(engine, **changes):
    answer = engine.post("/v5/adv/campaigns", json=_campaign(**changes))
    assert answer.status_code == 201, answer.text
    return answer.json()["result"]["id"]


def _playing(engine, **changes):
    campaign_id = _created(engine, **changes)
    answer = engine.put("/v5/adv/campaigns/play", json={"campaign_ids": [campaign_id]})
    assert answer.json() == {"result": {"success": [campaign_id], "failed": []}}
    return campaign_id


def _serve(engine, campaign_id, impressions=0, clicks=0, conversions=0, **more):
    figures = {"impressions": impressions, "clicks": clicks, "conversions": conversions}
    return engine.post("/sandbox/traffic", json={"campaign_id": campaign_id, **figures, **more})


def _statistics(engine, campaign_id, *groups, **more):
    asked = {"day_from": "2030-01-01", "day_to": "2030-01-31", "group_by": list(groups), "campaign_id": [campaign_id]}
    answer = engine.post("/v5/adv/statistics", json={**asked, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_created_campaign_is_stopped_and_found_by_its_exact_name(sandboxes):
    engine, name = sandboxes.traffic_engine, f"one [{uuid4()}]"
    campaign_id = _created(engine, name=name)
    found = engine.get("/v5/adv/campaigns", params={"name": name, "page_size": 1000}).json()
    assert [(one["id"], one["status"]) for one in found["result"]] == [(campaign_id, 8)]
    assert found["meta"]["total_items"] == 1
    assert engine.get("/v5/adv/campaigns", params={"name": name[:-1]}).json()["result"] == []
    assert engine.get(f"/v5/adv/campaigns/{campaign_id}").json()["result"]["rates"] == [
        {"countries": [], "amount": 2.5}
    ]


def test_changed_campaign_fields_are_validated(sandboxes):
    engine = sandboxes.traffic_engine
    campaign_id = _created(engine)
    changed = engine.patch(f"/v5/adv/campaigns/{campaign_id}", json={"total_amount": 250.000001})
    assert changed.json()["result"]["total_amount"] == 250.000001
    assert engine.get(f"/v5/adv/campaigns/{campaign_id}").json() == changed.json()
    assert engine.patch(f"/v5/adv/campaigns/{campaign_id}", json={"total_amount": 0}).status_code == 400
    assert engine.get(f"/v5/adv/campaigns/{campaign_id}").json() == changed.json()
    assert engine.patch("/v5/adv/campaigns/999999", json={"total_amount": 1}).status_code == 404


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"name": " "}, "name"),
        ({"direction": "push"}, "direction"),
        ({"rate_model": "cpx"}, "rate_model"),
        ({"target_url": "javascript:alert(1)"}, "target_url"),
        ({"total_amount": 0}, "total_amount"),
        ({"total_amount": True}, "total_amount"),
        ({"daily_amount": -1}, "daily_amount"),
        ({"currency": "EUR"}, "currency"),
        ({"started_at": "tomorrow"}, "started_at"),
        ({"rates": []}, "rates"),
        ({"rates": [{"amount": 0.0000001}]}, "rate"),
    ],
)
def test_bad_campaign_is_refused_with_the_field_named(sandboxes, changes, named):
    answer = sandboxes.traffic_engine.post("/v5/adv/campaigns", json=_campaign(**changes))
    assert answer.status_code == 400
    assert named in answer.json()["errors"][0]["message"]


def test_wrong_token_and_unknown_campaign_are_refused(sandboxes):
    engine = sandboxes.traffic_engine
    assert engine.get("/v5/adv/campaigns", headers={"Authorization": "Bearer other"}).status_code == 401
    assert engine.get("/v5/adv/campaigns/999999999").status_code == 404
    assert engine.get(f"/v5/adv/campaigns/{10**30}").status_code == 404
    answer = engine.put("/v5/adv/campaigns/play", json={"campaign_ids": [999999999]}).json()
    assert answer["result"] == {"success": [], "failed": [999999999]}


def test_only_a_playing_campaign_accepts_traffic(sandboxes):
    engine = sandboxes.traffic_engine
    campaign_id = _created(engine)
    refused = _serve(engine, campaign_id, impressions=1)
    assert refused.status_code == 409
    assert "not playing" in refused.json()["error"]["message"]
    engine.put("/v5/adv/campaigns/play", json={"campaign_ids": [campaign_id]})
    assert _serve(engine, campaign_id, impressions=1).status_code == 200
    engine.put("/v5/adv/campaigns/stop", json={"campaign_ids": [campaign_id]})
    assert _serve(engine, campaign_id, impressions=1).status_code == 409
    assert _serve(engine, 999999999, impressions=1).status_code == 404


def test_statistics_are_cumulative_and_grouped_on_request(sandboxes):
    engine, zone = sandboxes.traffic_engine, str(uuid4())
    campaign_id = _playing(engine)
    _serve(engine, campaign_id, 400, 20, 2, day="2030-01-01", zone_id=zone)
    _serve(engine, campaign_id, 100, 5, 1, day="2030-01-01", zone_id=zone)
    _serve(engine, campaign_id, 500, 25, 2, day="2030-01-02")
    _serve(engine, campaign_id, 9, 9, 9, day="2030-02-01")

    by_zone = _statistics(engine, campaign_id, "campaign_id", "day", "zone_id")
    first = {"campaign_id": campaign_id, "day": "2030-01-01", "zone_id": zone}
    second = {"campaign_id": campaign_id, "day": "2030-01-02", "zone_id": ""}
    assert by_zone["result"] == [
        {**first, "impressions": 500, "clicks": 25, "conversions": 3, "money": "1.250000"},
        {**second, "impressions": 500, "clicks": 25, "conversions": 2, "money": "1.250000"},
    ]
    total = {"campaign_id": campaign_id, "impressions": 1000, "clicks": 50, "conversions": 5, "money": "2.500000"}
    assert _statistics(engine, campaign_id, "campaign_id")["result"] == [total]
    page = _statistics(engine, campaign_id, "day", page=2, page_size=1)
    assert [row["day"] for row in page["result"]] == ["2030-01-02"]
    assert page["meta"] == {"total_items": 2, "page": 2}


@pytest.mark.parametrize(
    ("rate_model", "amount", "money"),
    [
        ("cpm", 0.333333, "0.000999"),
        ("cpc", 0.1, "0.700000"),
        ("cpa", 12.34, "24.680000"),
        ("cpc", 99999.999999, "699999.999993"),
    ],
)
def test_money_is_exact_to_the_micro(sandboxes, rate_model, amount, money):
    campaign_id = _playing(sandboxes.traffic_engine, rate_model=rate_model, rates=[{"countries": [], "amount": amount}])
    _serve(sandboxes.traffic_engine, campaign_id, 3, 7, 2, day="2030-01-01")
    assert _statistics(sandboxes.traffic_engine, campaign_id, "campaign_id")["result"][0]["money"] == money


def test_repeated_booking_counts_once(sandboxes):
    engine, request_id = sandboxes.traffic_engine, str(uuid4())
    campaign_id = _playing(engine)
    booked = [
        _serve(engine, campaign_id, 10, day="2030-01-01", request_id=request_id).json()["result"]["booked"]
        for _ in range(2)
    ]
    assert booked == [True, False]
    assert _statistics(engine, campaign_id, "campaign_id")["result"][0]["impressions"] == 10


@pytest.mark.parametrize(
    "asked", [{"day_from": "2030-02-01"}, {"day_to": "x"}, {"group_by": ["sub_id"]}, {"page_size": 1001}, {"page": 0}]
)
def test_bad_statistics_request_is_refused(sandboxes, asked):
    body = {"day_from": "2030-01-01", "day_to": "2030-01-31", "group_by": ["day"], **asked}
    answer = sandboxes.traffic_engine.post("/v5/adv/statistics", json=body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "validation_error"


def test_status_429_carries_retry_after(sandboxes):
    engine = sandboxes.traffic_engine
    engine.put("/sandbox/behaviour", json={"fail_next": 1, "status": 429})
    refused = engine.get("/v5/adv/campaigns")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    assert engine.get("/v5/adv/campaigns").status_code == 200
