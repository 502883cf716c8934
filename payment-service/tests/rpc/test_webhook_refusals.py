"""Webhooks that are refused: bodies that are not events, and malformed signatures."""

import time

import grpc
import pytest
import stripe

from adlib.clock import SystemClock
from payment_service.providers.model import SignatureInvalid

SECRET = "whsec_payment"
NO_TEXT = b'{"id": "evt_\\ud800", "type": "x"}'
TOO_DEEP = b"[" * 5_000 + b"]" * 5_000


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"id": "evt_1"}', b'{"id": 1, "type": "x"}', b"\xff", NO_TEXT, TOO_DEEP],
    ids=["empty", "list", "no fields", "no type", "id of a number", "no utf-8", "half a character", "too deep"],
)
def test_signed_body_that_is_not_an_event_is_refused(gateway, body: bytes) -> None:
    at = int(time.time())
    signature = stripe.WebhookSignature._compute_signature(f"{at}.{body.decode('latin-1')}", SECRET)
    with pytest.raises(grpc.RpcError) as refused:
        gateway.deliver("/webhooks/stripe", body, {"stripe-signature": f"t={at},v1={signature}"})
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("header", ["", "é", "t=99999999999,v1=é", "t=1e9,v1=a", "t=-1,v1=", "t=" + "9" * 5_000])
def test_malformed_signature_is_refused_as_invalid(config, db, header: str) -> None:
    account = config.providers.by_name["STRIPE"].provider(db, SystemClock())
    with pytest.raises(SignatureInvalid):
        account.webhooks.verify(b"{}", lambda _: header)
