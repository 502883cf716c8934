"""Money comes in by card, chain and bank, goes back, is disputed and owed: through the gateway, as people do it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.people import owner, staff

from adctl.client import Client, Refused
from adctl.state import State
from adtesting import eventually

pytestmark = pytest.mark.xdist_group("platform")

ASKED = 100_000_000


@pytest.fixture
def advertiser(platform: State) -> Client:
    return owner(platform)


@pytest.fixture
def admin(platform: State) -> Client:
    return staff(platform)


@pytest.fixture
def outside(platform: State) -> Iterator["Outside"]:
    with httpx.Client(timeout=20, trust_env=False) as http:
        yield Outside(platform, http)


class Outside:
    """What customers, their banks and their chains do."""

    def __init__(self, platform: State, http: httpx.Client) -> None:
        self._platform = platform
        self._http = http

    def does(self, sandbox: str, path: str, **body: Any) -> Any:
        answer = self._http.post(f"{self._platform.url(sandbox)}{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()


def pay_by(advertiser: Client, provider: str, **more: Any) -> dict[str, Any]:
    asked = {"amountMicros": str(ASKED), "currencyCode": "USD", "provider": provider, **more}
    created: dict[str, Any] = advertiser.post("/payments/create", asked)
    return created


def becomes(advertiser: Client, payment_id: str, state: str, within_s: float = 20, **figures: int) -> dict[str, Any]:
    """The payment, once it is in that state and has these figures."""

    def there() -> dict[str, Any] | None:
        payment: dict[str, Any] = advertiser.get(f"/payments/{payment_id}")
        is_it = payment["state"] == state and all(int(payment[name]) == value for name, value in figures.items())
        return payment if is_it else None

    return eventually(there, within_s=within_s)


def figures(advertiser: Client) -> tuple[int, ...]:
    """Available, held, reserved and owed; the statement must say the same."""
    names = ("availableMicros", "heldMicros", "reservedMicros", "debtMicros")
    balance = advertiser.get("/billing/balance")
    lines = advertiser.get("/billing/statement", pageSize=200)["lines"]
    for name in names:
        delta = name.replace("Micros", "DeltaMicros")
        assert int(balance[name]) == sum(int(line[delta]) for line in lines), name
    return tuple(int(balance[name]) for name in names)


def paid_by_card(advertiser: Client, outside: Outside) -> str:
    payment_id: str = pay_by(advertiser, "STRIPE")["payment"]["id"]
    outside.does("stripe-sandbox", "/sandbox/pay", payment_id=payment_id)
    becomes(advertiser, payment_id, "SUCCEEDED")
    return payment_id


def hold_some(advertiser: Client, micros: int) -> None:
    campaign = advertiser.post(
        "/campaigns",
        {
            "name": "Spring",
            "budgetMicros": str(micros),
            "targetUrl": "https://shop.example.com/",
            "bid": {"model": "CPM", "priceMicros": "5000000"},
        },
    )
    advertiser.post(f"/campaigns/{campaign['id']}/start")


def test_staff_refund_a_card_in_parts_and_never_more_than_is_left(
    advertiser: Client, admin: Client, outside: Outside
) -> None:
    payment_id = paid_by_card(advertiser, outside)
    path = f"/payments/{payment_id}/refund"
    with pytest.raises(Refused) as refused:
        advertiser.post(path, {})
    assert (refused.value.status, refused.value.reason) == (403, "PERMISSION_MISSING")
    part = admin.post(path, {"amountMicros": "30000000", "reason": "Half a week late"}, idempotency_key="one")
    assert admin.post(path, {"amountMicros": "30000000", "reason": "Half a week late"}, idempotency_key="one") == part
    becomes(advertiser, payment_id, "SUCCEEDED", refundedMicros=30_000_000)
    eventually(lambda: figures(advertiser) == (70_000_000, 0, 0, 0))
    hold_some(advertiser, 50_000_000)
    with pytest.raises(Refused) as refused:
        admin.post(path, {"amountMicros": "20000001"})
    assert (refused.value.status, refused.value.reason) == (400, "REFUND_TOO_LARGE")
    admin.post(path, {"amountMicros": "20000000"})
    eventually(lambda: figures(advertiser) == (0, 50_000_000, 0, 0))
    shown = advertiser.get(f"/payments/{payment_id}/refunds")["refunds"]
    assert [(one["amountMicros"], one["reason"]) for one in shown] == [
        ("20000000", ""),
        ("30000000", "Half a week late"),
    ]


def test_a_lost_dispute_on_held_money_is_paid_by_what_was_held(advertiser: Client, outside: Outside) -> None:
    payment_id = paid_by_card(advertiser, outside)
    hold_some(advertiser, 60_000_000)
    outside.does("stripe-sandbox", "/sandbox/dispute", payment_id=payment_id, outcome="open")
    becomes(advertiser, payment_id, "DISPUTED", disputedMicros=ASKED)
    assert figures(advertiser) == (0, 60_000_000, 40_000_000, 0)
    outside.does("stripe-sandbox", "/sandbox/dispute", payment_id=payment_id, outcome="lose")
    # Nothing of it was delivered, so that the campaign's hold pays all of the debt.
    eventually(lambda: figures(advertiser) == (0, 0, 0, 0), within_s=20)
    (campaign,) = advertiser.get("/campaigns")["campaigns"]
    assert (campaign["state"], campaign["stateReasons"]) == ("PAUSED", ["PAYMENT_DISPUTED"])
    with pytest.raises(Refused) as refused:
        hold_some(advertiser, 1_000_000)
    assert refused.value.reason == "INSUFFICIENT_FUNDS"
    paid_by_card(advertiser, outside)
    assert figures(advertiser) == (ASKED, 0, 0, 0)
    advertiser.post(f"/campaigns/{campaign['id']}/start")
    assert figures(advertiser) == (40_000_000, 60_000_000, 0, 0)


def test_coins_are_credited_at_their_depth_and_taken_back_when_the_chain_forgets_them(
    advertiser: Client, outside: Outside
) -> None:
    created = pay_by(advertiser, "CRYPTO", crypto={"token": "USDC"})
    payment_id, told = created["payment"]["id"], created["crypto"]
    assert told["amount"] == "100000000"
    outside.does("chain-sandbox", "/sandbox/chain/pay", to=told["address"], coin="USDC", smallest=told["amount"])
    paid = becomes(advertiser, payment_id, "SUCCEEDED", paidMicros=ASKED)
    (deposit,) = paid["deposits"]
    assert deposit["chain"]["confirmations"] >= told["requiredConfirmations"]
    assert figures(advertiser) == (ASKED, 0, 0, 0)
    hold_some(advertiser, 60_000_000)
    outside.does(
        "chain-sandbox", "/sandbox/chain/reorg", depth=told["requiredConfirmations"] + 3, keep_transactions=False
    )
    becomes(advertiser, payment_id, "PENDING", paidMicros=0)
    # The campaign is paused, and what it held pays what is owed.
    eventually(lambda: figures(advertiser) == (0, 0, 0, 0), within_s=20)
    (campaign,) = advertiser.get("/campaigns")["campaigns"]
    assert (campaign["state"], campaign["stateReasons"]) == ("PAUSED", ["PAYMENT_DISPUTED"])
    outside.does("chain-sandbox", "/sandbox/chain/pay", to=told["address"], coin="USDC", smallest=told["amount"])
    becomes(advertiser, payment_id, "SUCCEEDED", paidMicros=ASKED)
    assert figures(advertiser) == (ASKED, 0, 0, 0)


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"chainId": "56"}, "CHAIN_NOT_AVAILABLE"),
        ({"token": "DOGE"}, "TOKEN_NOT_AVAILABLE"),
        ({"refundAddress": "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"}, "ADDRESS_INVALID"),
        ({"refundAddress": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"}, "ADDRESS_CHECKSUM_INVALID"),
    ],
    ids=["chain", "token", "address", "checksum"],
)
def test_a_wrong_choice_of_coins_says_what_is_wrong(advertiser: Client, choice: dict[str, str], reason: str) -> None:
    with pytest.raises(Refused) as refused:
        pay_by(advertiser, "CRYPTO", crypto=choice)
    assert (refused.value.status, refused.value.reason) == (400, reason)
    assert not advertiser.get("/payments")["payments"]


def test_a_bank_transfer_is_matched_by_its_reference(advertiser: Client, outside: Outside) -> None:
    created = pay_by(advertiser, "WISE")
    reference = created["wise"]["reference"]
    outside.does(
        "wise-sandbox", "/sandbox/incoming", currency="USD", amount=100, reference=f"inv 7 {reference.lower()}"
    )
    paid = becomes(advertiser, created["payment"]["id"], "SUCCEEDED", paidMicros=ASKED)
    assert paid["outcome"] == "EXACT"
    assert figures(advertiser) == (ASKED, 0, 0, 0)


def test_money_of_nobody_known_waits_until_staff_assign_it(advertiser: Client, admin: Client, outside: Outside) -> None:
    created = pay_by(advertiser, "WISE")
    arrived = outside.does(
        "wise-sandbox", "/sandbox/incoming", currency="USD", amount=99, reference="for the ads", sender_name="Ada"
    )
    assert arrived

    def unmatched() -> list[dict[str, Any]]:
        return [
            one
            for one in admin.get("/billing/unmatched")["deposits"]
            if one["amountMicros"] == "99000000" and one["remittanceText"] == "for the ads"
        ]

    (deposit,) = eventually(unmatched)
    with pytest.raises(Refused) as refused:
        advertiser.get("/billing/unmatched")
    assert refused.value.reason == "PERMISSION_MISSING"
    admin.post(f"/billing/unmatched/{deposit['id']}/assign", {"paymentId": created["payment"]["id"]})
    paid = becomes(advertiser, created["payment"]["id"], "PROCESSING", paidMicros=99_000_000)
    assert paid["outcome"] == "UNDERPAID"
    assert not unmatched()
    assert figures(advertiser) == (99_000_000, 0, 0, 0)


def test_a_receipt_is_numbered_and_is_html_and_pdf(platform: State, advertiser: Client, outside: Outside) -> None:
    unpaid = pay_by(advertiser, "STRIPE")["payment"]["id"]
    with pytest.raises(Refused) as refused:
        advertiser.get(f"/payments/{unpaid}/receipt")
    assert refused.value.reason == "PAYMENT_STATE_INVALID"
    first, second = (paid_by_card(advertiser, outside) for _ in range(2))
    for payment_id, number in ((first, "R-000001"), (second, "R-000002")):
        page = advertiser.get(f"/payments/{payment_id}/receipt")
        assert "<html" in page
        assert number in page
        assert payment_id in page
        assert "Acme" in page
    assert advertiser.get(f"/payments/{first}/receipt", format="PDF").startswith("%PDF-")
    with pytest.raises(Refused) as refused:
        owner(platform).get(f"/payments/{first}/receipt")
    assert refused.value.reason == "PAYMENT_NOT_FOUND"
