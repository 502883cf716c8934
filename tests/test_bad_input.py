"""Invalid requests through the gateway: the status, reason and field of each refusal, and no side effect."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from uuid import uuid4

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from adctl.client import Client, Refused
from adctl.demo import signup
from adctl.keys import Keys
from adctl.sandboxes.client import set_behaviour
from adctl.sandboxes.stripe import pay_intent
from adctl.state import State
from adlib import identity

pytestmark = pytest.mark.xdist_group("platform")

CAMPAIGN: dict[str, Any] = {
    "name": "Spring",
    "budgetMicros": "100000000",
    "targetUrl": "https://shop.example.com/",
    "bid": {"model": "CPM", "priceMicros": "5000000"},
}


@pytest.fixture(scope="module")
def advertiser(platform: State) -> Client:
    return sign_up(platform)


@pytest.fixture(scope="module")
def stranger(platform: State) -> Client:
    return sign_up(platform)


def sign_up(platform: State, **more: str) -> Client:
    client = Client(platform.gateway_url)
    fields = {"email": f"{uuid4().hex}@example.com", "password": "correct horse battery", "name": "Ada"}
    signup.sign_up(platform, client, **fields, organizationName="Acme", **more)
    return client


def refusal(call: Callable[[], object]) -> Refused:
    with pytest.raises(Refused) as refused:
        call()
    body = refused.value.body
    assert set(body) == {"code", "message", "details"}, body
    assert not any(word in json.dumps(body) for word in ("Traceback", "SELECT ", "psycopg", "127.0.0.1"))
    return refused.value


def fields(refused: Refused) -> list[str]:
    return [violation["field"] for detail in refused.body["details"] for violation in detail.get("fieldViolations", [])]


def token_keys(platform: State) -> list[Ed25519PrivateKey]:
    return [identity.private_key(key.path.read_text()) for key in Keys(platform.paths.keys).tokens.all()]


def has_signed(key: Ed25519PrivateKey, token: str) -> bool:
    signed, _, signature = token.rpartition(".")
    try:
        key.public_key().verify(base64.urlsafe_b64decode(signature + "=="), signed.encode())
    except InvalidSignature:
        return False
    return True


def test_missing_malformed_forged_and_expired_tokens_are_401(platform: State, advertiser: Client) -> None:
    header, payload, signature = advertiser.token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**claims, "sub": str(uuid4())}).encode()).rstrip(b"=").decode()
    (key,) = [key for key in token_keys(platform) if has_signed(key, advertiser.token)]
    kid = json.loads(base64.urlsafe_b64decode(header + "=="))["kid"]
    assert Client(platform.gateway_url, identity.sign(key, kid, claims)).get("/auth/profile")
    expired = identity.sign(key, kid, {**claims, "iat": 1, "exp": int(time.time()) - 5})
    for token in ("", "x", f"{header}.{forged}.{signature}", expired):
        caller = Client(platform.gateway_url, token=token, organization_id=advertiser.organization_id)
        refused = refusal(lambda caller=caller: caller.get("/campaigns"))
        assert (refused.status, refused.reason) == (401, "TOKEN_INVALID" if token else "TOKEN_MISSING")


def test_organization_of_others_in_the_header_is_403(advertiser: Client, stranger: Client) -> None:
    headers = {"organization-id": advertiser.organization_id}
    refused = refusal(lambda: stranger.request("GET", "/campaigns", headers=headers))
    assert (refused.status, refused.reason) == (403, "NOT_A_MEMBER")


def test_missing_permission_is_403(advertiser: Client) -> None:
    refused = refusal(lambda: advertiser.get("/publishers"))
    assert (refused.status, refused.reason) == (403, "PERMISSION_MISSING")


def test_missing_organization_is_400(platform: State, advertiser: Client) -> None:
    refused = refusal(lambda: Client(platform.gateway_url, token=advertiser.token).get("/campaigns"))
    assert (refused.status, refused.reason) == (400, "ORGANIZATION_ID_REQUIRED")


def test_campaign_of_another_organization_is_404_in_every_rpc(advertiser: Client, stranger: Client) -> None:
    id = advertiser.post("/campaigns", CAMPAIGN)["id"]
    calls: list[Callable[[], object]] = [
        lambda: stranger.get(f"/campaigns/{id}"),
        lambda: stranger.request("PATCH", f"/campaigns/{id}", json={"name": "mine"}),
        lambda: stranger.request("PUT", f"/campaigns/{id}", json={"name": "mine"}),
        lambda: stranger.request("DELETE", f"/campaigns/{id}"),
        lambda: stranger.post(f"/campaigns/{id}/start"),
        lambda: stranger.post(f"/campaigns/{id}/pause"),
        lambda: stranger.get(f"/campaigns/{id}/stats"),
        lambda: stranger.get(f"/analytics/campaigns/{id}"),
        lambda: stranger.post("/pixels", {"campaignId": id, "name": "mine"}),
    ]
    for call in calls:
        refused = refusal(call)
        assert (refused.status, refused.reason) == (404, "CAMPAIGN_NOT_FOUND")
    assert advertiser.get(f"/campaigns/{id}")["name"] == CAMPAIGN["name"]
    assert advertiser.get(f"/campaigns/{id}")["state"] == "DRAFT"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"budgetMicros": "-1"}, "budgetMicros"),
        ({"budgetMicros": "0"}, "budgetMicros"),
        ({"budgetMicros": "9000000000000000000"}, "budgetMicros"),
        ({"name": ""}, "name"),
        ({"targetUrl": "javascript:alert(1)"}, "targetUrl"),
        ({"bid": {"model": "CPM", "priceMicros": "-5"}}, "bid.priceMicros"),
        ({"bid": None}, "bid"),
        ({"currencyCode": "usd"}, "currencyCode"),
        ({"targeting": {"countries": ["Germany"]}}, "targeting.countries[0]"),
    ],
)
def test_invalid_field_is_400_and_named(advertiser: Client, changes: dict[str, Any], field: str) -> None:
    refused = refusal(lambda: advertiser.post("/campaigns", {**CAMPAIGN, **changes}))
    assert (refused.status, refused.reason) == (400, "INVALID_FIELD")
    assert field in fields(refused)


@pytest.mark.parametrize(
    ("body", "named", "reason"),
    [
        ('{"name": "Spring", ', "", "INVALID_FIELD"),
        ("[]", "", "INVALID_FIELD"),
        (json.dumps({**CAMPAIGN, "colour": "red"}), "colour", "INVALID_FIELD"),
        (json.dumps({**CAMPAIGN, "budgetMicros": "99999999999999999999999"}), "budget", "AMOUNT_TOO_LARGE"),
        (json.dumps({**CAMPAIGN, "budgetMicros": 1e30}), "budget", "AMOUNT_TOO_LARGE"),
        (json.dumps({**CAMPAIGN, "budgetMicros": "much"}), "budget", "INVALID_FIELD"),
        (json.dumps({**CAMPAIGN, "state": "ACTIVE"}), "state", "INVALID_FIELD"),
    ],
)
def test_json_outside_the_contract_is_400(advertiser: Client, body: str, named: str, reason: str) -> None:
    headers = {"content-type": "application/json"}
    refused = refusal(lambda: advertiser.request("POST", "/campaigns", content=body, headers=headers))
    assert (refused.status, refused.reason) == (400, reason)
    assert named in json.dumps(refused.body)


def test_unknown_query_parameter_or_path_is_refused(advertiser: Client) -> None:
    assert refusal(lambda: advertiser.get("/campaigns", color="red")).status == 400
    assert refusal(lambda: advertiser.get("/campaings")).status == 404


def test_start_without_funds_creates_no_network_campaign(platform: State, advertiser: Client) -> None:
    id = advertiser.post("/campaigns", {**CAMPAIGN, "name": f"Poor {uuid4().hex}"})["id"]
    refused = refusal(lambda: advertiser.post(f"/campaigns/{id}/start"))
    assert (refused.status, refused.reason) == (400, "INSUFFICIENT_FUNDS")
    assert advertiser.get(f"/campaigns/{id}")["state"] == "DRAFT"
    assert advertiser.get("/billing/balance")["heldMicros"] == "0"
    listed = httpx.get(
        f"{platform.url('traffic-engine-sandbox')}/v5/adv/campaigns?page_size=1000",
        headers={"authorization": f"Bearer {platform.secrets['trafficEngineToken']}"},
        trust_env=False,
    ).json()["result"]
    assert not [one for one in listed if id in one["name"]]


def test_idempotency_key_repeats_the_answer_and_refuses_another_body(advertiser: Client) -> None:
    key = uuid4().hex
    first = advertiser.post("/campaigns", CAMPAIGN, idempotency_key=key)
    assert advertiser.post("/campaigns", CAMPAIGN, idempotency_key=key) == first
    refused = refusal(lambda: advertiser.post("/campaigns", {**CAMPAIGN, "name": "Other"}, idempotency_key=key))
    assert (refused.status, refused.reason) == (400, "IDEMPOTENCY_KEY_REUSED")


def signed(platform: State, body: str, *, at: float | None = None, secret: str | None = None) -> dict[str, str]:
    stamp = int(at or time.time())
    key = secret or platform.stripe_webhook_secret
    signature = hmac.new(key.encode(), f"{stamp}.{body}".encode(), sha256).hexdigest()
    return {"stripe-signature": f"t={stamp},v1={signature}", "content-type": "application/json"}


def test_unsigned_forged_stale_or_repeated_webhooks_do_not_credit(platform: State) -> None:
    customer = sign_up(platform)
    made = customer.post("/payments/create", {"amountMicros": "25000000", "currencyCode": "USD", "provider": "STRIPE"})
    stripe = "stripe"
    set_behaviour(platform, stripe, drop_webhooks=True)
    pay_intent(platform, made["payment"]["id"])
    set_behaviour(platform, stripe)
    intent = made["stripe"]["clientSecret"].partition("_secret_")[0]
    event = {
        "id": f"evt_{uuid4().hex}",
        "object": "event",
        "type": "payment_intent.succeeded",
        "created": int(time.time()),
        "data": {
            "object": {
                "id": intent,
                "object": "payment_intent",
                "status": "succeeded",
                "amount": 2500,
                "amount_received": 2500,
                "currency": "usd",
                "metadata": {"payment_id": made["payment"]["id"]},
            }
        },
    }
    body = json.dumps(event)
    bad = [
        {"content-type": "application/json"},
        signed(platform, body, secret="whsec_wrong"),
        signed(platform, body + " "),
        signed(platform, body, at=time.time() - 301),
    ]
    for headers in bad:
        refused = refusal(
            lambda headers=headers: customer.request("POST", "/webhooks/stripe", content=body, headers=headers)
        )
        assert (refused.status, refused.reason) == (400, "SIGNATURE_INVALID")
    assert customer.get("/billing/balance")["availableMicros"] == "0"
    for _ in range(3):
        customer.request("POST", "/webhooks/stripe", content=body, headers=signed(platform, body))
    again = json.dumps({**event, "id": f"evt_{uuid4().hex}"})
    customer.request("POST", "/webhooks/stripe", content=again, headers=signed(platform, again))
    assert customer.get("/billing/balance")["availableMicros"] == "25000000"


def test_unknown_pixel_answers_the_gif_and_counts_a_rejection(platform: State) -> None:
    def rejections() -> float:
        text = httpx.get(f"{platform.url('pixel-service-metrics')}/metrics", trust_env=False).text
        return sum(
            float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("pixel_rejected_total")
        )

    before = rejections()
    for path in (f"/track/pixel/{uuid4()}", "/track/pixel/nonsense"):
        answer = httpx.get(platform.gateway_url + path, trust_env=False)
        assert (answer.status_code, answer.headers["content-type"], len(answer.content)) == (200, "image/gif", 43)
        assert "no-store" in answer.headers["cache-control"]
    end = time.monotonic() + 10
    while rejections() < before + 2:
        assert time.monotonic() < end, "the rejections were not counted"
        time.sleep(0.05)


def test_internal_rpcs_are_unreachable_through_the_gateway(platform: State, advertiser: Client) -> None:
    for path in ("/adplatform.payment.v1.LedgerService/HoldBudget", "/grpc.health.v1.Health/Check"):
        for content_type in ("application/json", "application/grpc"):
            answer = httpx.post(
                platform.gateway_url + path,
                content=b"\0\0\0\0\0",
                headers={"content-type": content_type, "authorization": f"Bearer {advertiser.token}"},
                trust_env=False,
            )
            assert answer.status_code == 404
    refused = refusal(lambda: advertiser.post("/jobs/sync-stats"))
    assert refused.status in (401, 403)
