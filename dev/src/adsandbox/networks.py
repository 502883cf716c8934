"""What the ad networks here bill in: campaigns are made in these currencies, and wallets are filled in them."""

from collections.abc import Mapping

BILLING_CURRENCIES: Mapping[str, str] = {"TRAFFIC_ENGINE": "USD"}
