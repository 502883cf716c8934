"""Somebody makes an account for another person's e-mail, and waits: through the gateway, on the real servers."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from adctl.client import Client, Refused
from adctl.newcomers import mailed_token
from adctl.sandbox_commands import pay_intent
from adctl.state import State
from adtesting import eventually

from .people import PASSWORD, api_key, invited, new_email, owner, unverified_owner

pytestmark = pytest.mark.xdist_group("platform")

PROMISED_S = 1.0
NEW_PASSWORD = "staple of nine violets"
PAYMENT = {"amountMicros": "500000000", "currencyCode": "USD", "provider": "STRIPE"}
CAMPAIGN: dict[str, Any] = {
    "name": "Spring",
    "budgetMicros": "100000000",
    "targetUrl": "https://shop.example.com/",
    "bid": {"model": "CPM", "priceMicros": "5000000"},
}


def reason(call: Callable[[], object]) -> str:
    """What the call is refused for; empty where it is not."""
    try:
        call()
    except Refused as refused:
        return refused.reason
    return ""


def by_a_reset(platform: State, email: str) -> Client:
    """The owner of the e-mail sets a new password by the mail that they ask for, and signs in."""
    victim = Client(platform.gateway_url)
    victim.post("/auth/forgot-password", {"email": email})
    token = mailed_token(platform, email, "reset-password")
    return with_a_password(platform, email, token)


def by_the_link(platform: State, email: str) -> Client:
    """They click the link in the mail that they did not ask for, and set a password as the answer offers."""
    token = mailed_token(platform, email, "verify-email")
    answer = Client(platform.gateway_url).post("/auth/verify-email", {"token": token})
    return with_a_password(platform, email, answer["passwordResetToken"])


def with_a_password(platform: State, email: str, token: str) -> Client:
    victim = Client(platform.gateway_url)
    victim.post("/auth/reset-password", {"token": token, "password": NEW_PASSWORD})
    victim.log_in(email, NEW_PASSWORD)
    return victim


def by_key(platform: State, secret: str) -> Callable[[str, str], str]:
    """What calls with the API key are refused for."""
    program = Client(platform.gateway_url)

    def call(method: str, path: str) -> str:
        body = {} if method == "GET" else {"json": {}}
        return reason(lambda: program.request(method, path, headers={"x-api-key": secret}, **body))

    return call


def test_an_account_whose_email_is_not_proven_leaves_nothing_behind(platform: State) -> None:
    eve = unverified_owner(platform)
    for call in (
        lambda: eve.post("/users", {"email": new_email(), "role": "owner"}),
        lambda: api_key(eve, ["CAMPAIGNS_START"]),
        lambda: eve.post("/payments/create", PAYMENT),
    ):
        with pytest.raises(Refused) as refused:
            call()
        assert (refused.value.status, refused.value.reason) == (400, "EMAIL_NOT_VERIFIED")
        assert "verify-email/send" in str(refused.value)
    assert eve.post("/campaigns", CAMPAIGN)["state"] == "DRAFT"


def test_a_newcomer_who_opens_the_link_where_they_are_signed_in_goes_on(platform: State) -> None:
    email = new_email()
    ada = unverified_owner(platform, email)
    assert reason(lambda: ada.post("/payments/create", PAYMENT)) == "EMAIL_NOT_VERIFIED"
    answer = ada.post("/auth/verify-email", {"token": mailed_token(platform, email, "verify-email")})
    assert (answer["user"]["emailVerified"], answer["passwordResetToken"]) == (True, "")
    # Every process that has just refused it.
    for call in (lambda: ada.post("/payments/create", PAYMENT), lambda: api_key(ada, ["CAMPAIGNS_READ"])):
        assert eventually(lambda call=call: call(), within_s=PROMISED_S)
    assert Client(platform.gateway_url).log_in(email, PASSWORD)["user"]["emailVerified"] is True


@pytest.mark.parametrize("prove", [by_a_reset, by_the_link])
def test_whoever_made_the_account_is_out_once_its_owner_proves_the_email(
    platform: State, prove: Callable[[State, str], Client]
) -> None:
    email = new_email()
    eve = unverified_owner(platform, email)
    campaign = eve.post("/campaigns", CAMPAIGN)
    victim = prove(platform, email)
    start = f"/campaigns/{campaign['id']}/start"
    for path in ("/campaigns", "/billing/balance", "/auth/profile"):
        assert eventually(lambda path=path: reason(lambda: eve.get(path)) == "TOKEN_INVALID", within_s=PROMISED_S)
    assert reason(lambda: Client(platform.gateway_url).log_in(email, PASSWORD)) == "CREDENTIALS_INVALID"
    made = victim.post("/payments/create", PAYMENT)
    pay_intent(platform, made["payment"]["id"])
    eventually(lambda: victim.get("/billing/balance")["availableMicros"] == PAYMENT["amountMicros"])
    assert reason(lambda: eve.post(start)) == "TOKEN_INVALID"
    assert victim.get("/billing/balance")["availableMicros"] == PAYMENT["amountMicros"]


def test_an_older_accounts_key_and_second_owner_spend_nothing_of_the_victims_money(platform: State) -> None:
    """As it was made before such accounts were held back: its e-mail is not verified, and it has given everything."""
    eve = owner(platform)
    email = eve.get("/auth/profile")["user"]["email"]
    campaign = eve.post("/campaigns", CAMPAIGN)
    start = f"/campaigns/{campaign['id']}/start"
    (accomplice,) = invited(platform, eve, ["owner"])
    secrets = [
        api_key(maker, ["CAMPAIGNS_START", "CAMPAIGNS_READ", "PAYMENTS_READ"])["secret"] for maker in (eve, accomplice)
    ]
    programs = [by_key(platform, secret) for secret in secrets]
    assert {program("GET", path) for program in programs for path in ("/campaigns", "/billing/balance")} == {""}
    with psycopg.connect(platform.database_url("auth-service"), autocommit=True) as connection:
        connection.execute("UPDATE users SET email_verified_at = NULL WHERE email = %s", [email])

    victim = by_a_reset(platform, email)

    def all_are_out() -> bool:
        by_keys = {program("GET", path) for program in programs for path in ("/campaigns", "/billing/balance")}
        return by_keys == {"API_KEY_INVALID"} and reason(lambda: accomplice.get("/campaigns")) == "NOT_A_MEMBER"

    assert eventually(all_are_out, within_s=PROMISED_S)
    made = victim.post("/payments/create", PAYMENT)
    pay_intent(platform, made["payment"]["id"])
    eventually(lambda: victim.get("/billing/balance")["availableMicros"] == PAYMENT["amountMicros"])
    assert [program("POST", start) for program in programs] == ["API_KEY_INVALID"] * 2
    assert reason(lambda: accomplice.post(start)) == "NOT_A_MEMBER"
    assert [user["email"] for user in victim.get("/users")["users"]] == [email]
    assert victim.get("/billing/balance")["availableMicros"] == PAYMENT["amountMicros"]
