"""What carries money in: a folder a provider, and here the list of them."""

from collections.abc import Callable, Mapping

from adlib.config import Environment
from payment_service.providers.crypto import settings as crypto
from payment_service.providers.protocol import Settings
from payment_service.providers.stripe import settings as stripe
from payment_service.providers.wise import settings as wise

KNOWN: Mapping[str, Callable[[Environment], Settings]] = {
    "STRIPE": stripe.read,
    "CRYPTO": crypto.read,
    "WISE": wise.read,
}
