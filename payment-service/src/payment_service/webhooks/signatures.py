"""Whether a webhook comes from whom it says; always over the raw body."""

import base64
import binascii

import stripe
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from payment_service.webhooks.model import SignatureInvalid

_TOLERANCE_S = 300


def verify_stripe(body: bytes, signature: str, secret: str) -> None:
    """HMAC-SHA256 over timestamp and body, at most 300 s old; SIGNATURE_INVALID."""
    try:
        stripe.WebhookSignature.verify_header(body, signature, secret, _TOLERANCE_S)
    except (stripe.SignatureVerificationError, UnicodeDecodeError) as error:
        raise SignatureInvalid("Stripe-Signature") from error


def verify_wise(body: bytes, signature: str, key: RSAPublicKey) -> None:
    """RSA-SHA256 (PKCS #1 v1.5), in base64; SIGNATURE_INVALID."""
    try:
        key.verify(base64.b64decode(signature, validate=True), body, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise SignatureInvalid("X-Signature-SHA256") from error
