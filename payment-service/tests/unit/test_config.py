"""The currencies of wallets in the configuration."""

import pytest

from adlib.config import ConfigurationError
from payment_service.config import wallet_currencies_of


@pytest.mark.parametrize(
    ("codes", "expected"), [("", ("USD",)), ("USD", ("USD",)), ("EUR, USD", ("EUR", "USD"))], ids=str
)
def test_wallet_currencies_are_read_from_a_list(codes: str, expected: tuple[str, ...]) -> None:
    assert wallet_currencies_of(codes) == expected


def test_unknown_wallet_currency_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="WALLET_CURRENCIES: currencyCode CHF is not supported"):
        wallet_currencies_of("USD,CHF")
