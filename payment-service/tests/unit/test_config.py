"""Which currencies wallets are filled in."""

import pytest

from adlib.config import ConfigurationError
from payment_service.config import wallet_currencies_of


@pytest.mark.parametrize(
    ("codes", "expected"), [("", ("USD",)), ("USD", ("USD",)), ("EUR, USD", ("EUR", "USD"))], ids=str
)
def test_wallet_currencies_are_those_that_are_named(codes: str, expected: tuple[str, ...]) -> None:
    assert wallet_currencies_of(codes) == expected


def test_currency_without_wallets_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match="WALLET_CURRENCIES: currencyCode CHF is not supported"):
        wallet_currencies_of("USD,CHF")
