"""Account pre-hijacking: an attacker signs up with a victim's e-mail and waits until the victim proves it."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from adctl.client import Client, Refused
from adctl.demo.signup import mailed_token
from adctl.sandboxes.stripe import pay_intent
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
    """The reason of a refusal; empty if the call succeeded."""
    try:
        call()
    except Refused as refused:
        return refused.reason
    return ""


def prove_by_password_reset(platform: State, email: str) -> Client:
    """The victim requests a password reset, sets a new password and signs in."""
    victim = Client(platform.gateway_url)
    victim.post("/auth/forgot-password", {"email": email})
    token = mailed_token(platform, email, "reset-password")
    return _sign_in_with_new_password(platform, email, token)


def prove_by_verification_link(platform: State, email: str) -> Client:
    """The victim opens the unrequested verification link and sets a password with the token in its answer."""
    token = mailed_token(platform, email, "verify-email")
    answer = Client(platform.gateway_url).post("/auth/verify-email", {"token": token})
    return _sign_in_with_new_password(platform, email, answer["passwordResetToken"])


def _sign_in_with_new_password(platform: State, email: str, token: str) -> Client:
    victim = Client(platform.gateway_url)
    victim.post("/auth/reset-password", {"token": token, "password": NEW_PASSWORD})
    victim.log_in(email, NEW_PASSWORD)
    return victim


def caller_with_key(platform: State, secret: str) -> Callable[[str, str], str]:
    """A function that calls with the API key and returns the reason of the refusal."""
    program = Client(platform.gateway_url)

    def call(method: str, path: str) -> str:
        body = {} if method == "GET" else {"json": {}}
        return reason(lambda: program.request(method, path, headers={"x-api-key": secret}, **body))

    return call


def test_unverified_account_cannot_invite_make_api_keys_or_pay(platform: State) -> None:
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


def test_user_who_verifies_while_signed_in_stays_signed_in(platform: State) -> None:
    email = new_email()
    ada = unverified_owner(platform, email)
    assert reason(lambda: ada.post("/payments/create", PAYMENT)) == "EMAIL_NOT_VERIFIED"
    answer = ada.post("/auth/verify-email", {"token": mailed_token(platform, email, "verify-email")})
    assert (answer["user"]["emailVerified"], answer["passwordResetToken"]) == (True, "")
    # Processes that refused the call before accept it within the promised time.
    for call in (lambda: ada.post("/payments/create", PAYMENT), lambda: api_key(ada, ["CAMPAIGNS_READ"])):
        assert eventually(lambda call=call: call(), within_s=PROMISED_S)
    assert Client(platform.gateway_url).log_in(email, PASSWORD)["user"]["emailVerified"] is True


@pytest.mark.parametrize("prove", [prove_by_password_reset, prove_by_verification_link])
def test_proving_the_email_revokes_the_access_of_the_accounts_creator(
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


def test_api_keys_and_invited_owners_of_an_unverified_account_lose_access(platform: State) -> None:
    """The account predates the restrictions: its e-mail is not verified, and it has API keys and a second owner."""
    eve = owner(platform)
    email = eve.get("/auth/profile")["user"]["email"]
    campaign = eve.post("/campaigns", CAMPAIGN)
    start = f"/campaigns/{campaign['id']}/start"
    (accomplice,) = invited(platform, eve, ["owner"])
    secrets = [
        api_key(maker, ["CAMPAIGNS_START", "CAMPAIGNS_READ", "PAYMENTS_READ"])["secret"] for maker in (eve, accomplice)
    ]
    programs = [caller_with_key(platform, secret) for secret in secrets]
    assert {program("GET", path) for program in programs for path in ("/campaigns", "/billing/balance")} == {""}
    with psycopg.connect(platform.database_url("auth-service"), autocommit=True) as connection:
        connection.execute("UPDATE users SET email_verified_at = NULL WHERE email = %s", [email])

    victim = prove_by_password_reset(platform, email)

    def all_are_refused() -> bool:
        by_keys = {program("GET", path) for program in programs for path in ("/campaigns", "/billing/balance")}
        return by_keys == {"API_KEY_INVALID"} and reason(lambda: accomplice.get("/campaigns")) == "NOT_A_MEMBER"

    assert eventually(all_are_refused, within_s=PROMISED_S)
    made = victim.post("/payments/create", PAYMENT)
    pay_intent(platform, made["payment"]["id"])
    eventually(lambda: victim.get("/billing/balance")["availableMicros"] == PAYMENT["amountMicros"])
    assert [program("POST", start) for program in programs] == ["API_KEY_INVALID"] * 2
    assert reason(lambda: accomplice.post(start)) == "NOT_A_MEMBER"
    assert [user["email"] for user in victim.get("/users")["users"]] == [email]
    assert victim.get("/billing/balance")["availableMicros"] == PAYMENT["amountMicros"]
