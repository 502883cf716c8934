"""The billing currency of each ad network, in which campaigns are created and wallets are funded."""

from collections.abc import Mapping

BILLING_CURRENCIES: Mapping[str, str] = {"TRAFFIC_ENGINE": "USD"}
