"""Whether a webhook comes from whom it says; always over the raw body."""

import stripe

from payment_service.webhooks.model import SignatureInvalid

_TOLERANCE_S = 300


def verify_stripe(body: bytes, signature: str, secret: str) -> None:
    """HMAC-SHA256 over timestamp and body, at most 300 s old; SIGNATURE_INVALID."""
    try:
        stripe.WebhookSignature.verify_header(body, signature, secret, _TOLERANCE_S)
    except (stripe.SignatureVerificationError, UnicodeDecodeError) as error:
        raise SignatureInvalid("Stripe-Signature") from error
