"""A payment's receipt: what stands on it, in words."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from adlib.money import MICROS, from_minor

# What banks pass on (ISO 20022); others' texts are cut there, so that a row fits on a page however it is written.
LONGEST_TEXT = 140

_PAID_BY = {"STRIPE": "Card", "WISE": "Bank transfer"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """Money that came for the payment; `asset_amount` is in the asset's smallest unit, as the contract's Deposit."""

    at: datetime
    amount_micros: int
    is_reversed: bool = False
    asset: str = ""
    asset_amount: int | None = None
    rate: Decimal | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def transaction_hash(self) -> str:
        """Of its transfer on its chain; empty where it came by none."""
        return plain((self.detail.get("chain") or {}).get("transaction_hash", ""))

    @property
    def sender_name(self) -> str:
        """Who sent it, as the bank says."""
        return plain(self.detail.get("sender_name", ""))

    @property
    def remittance_text(self) -> str:
        """What the sender wrote."""
        return plain(self.detail.get("remittance_text", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A payment that was credited, under its number in the organization.

    `arrived` is the newest of what came for it, `arrived_count` how many came in all; `organization_name` is empty
    where it is not known, and `issuer` the lines that say who issues it.
    """

    organization_id: UUID
    number: int
    issued_at: datetime
    payment_id: UUID
    provider: str
    currency_code: str
    paid_micros: int
    refunded_micros: int = 0
    disputed_micros: int = 0
    instructions: Mapping[str, Any] = field(default_factory=dict)
    organization_name: str = ""
    issuer: Sequence[str] = ()
    arrived: Sequence[Arrived] = ()
    arrived_count: int = 0

    @property
    def label(self) -> str:
        """The number as it is printed."""
        return f"R-{self.number:06}"

    @property
    def payer(self) -> str:
        """What the organization calls itself; empty where that is not known."""
        return plain(self.organization_name)

    @property
    def paid_by(self) -> str:
        """What it was paid with."""
        if token := self.instructions.get("token"):
            return plain(f"{token} on chain {self.instructions.get('chain_id')} (EIP-155)")
        return _PAID_BY.get(self.provider, self.provider.capitalize())

    @property
    def reference(self) -> str:
        """What the transfer had to be marked with; empty where nothing."""
        return plain(self.instructions.get("reference", ""))

    @property
    def address(self) -> str:
        """Where coins had to be sent to; empty where it was not coins."""
        return plain(self.instructions.get("address", ""))

    @property
    def arrived_earlier(self) -> int:
        """How many came before those that are told one by one."""
        return self.arrived_count - len(self.arrived)

    def sent(self, one: Arrived) -> str:
        """What was sent, in its asset; empty where it was the currency itself."""
        if one.asset_amount is None:
            return ""
        if one.asset == self.instructions.get("token"):
            amount = units(one.asset_amount, int(self.instructions.get("decimals", 0)))
        else:
            amount = f"{one.asset_amount} of the smallest unit of"
        at = "" if one.rate is None else f" at {self.currency_code} {_trimmed(one.rate)} each"
        return plain(f"{amount} {one.asset}{at}")


def money(amount_micros: int, currency_code: str) -> str:
    """The amount with all of its minor units, and with what is below them where there is something."""
    per_minor = from_minor(1, currency_code)
    whole, rest = divmod(abs(amount_micros), MICROS)
    digits = f"{rest:06}"
    minor_digits = len(str(MICROS // per_minor)) - 1
    fraction = digits[:minor_digits] + digits[minor_digits:].rstrip("0")
    sign = "-" if amount_micros < 0 else ""
    return f"{currency_code} {sign}{whole:,}{'.' if fraction else ''}{fraction}"


def units(smallest: int, decimals: int) -> str:
    """An amount of an asset's smallest unit in whole ones, exactly."""
    return _trimmed(Decimal((0, tuple(int(digit) for digit in str(smallest)), -decimals)))


def plain(text: object) -> str:
    """What others wrote, on one line and at most so long, without characters that only change how the rest is shown."""
    whole = str(text)
    # More is not looked at: it would be cut off.
    head = whole[: 4 * LONGEST_TEXT]
    shown = "".join(
        " " if category in ("Cc", "Zl", "Zp") else character
        for character in unicodedata.normalize("NFC", head)
        if (category := unicodedata.category(character)) not in ("Cf", "Cs")
    )
    line = " ".join(shown.split())
    return line if len(line) <= LONGEST_TEXT and head == whole else f"{line[: LONGEST_TEXT - 1]}…"


def _trimmed(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
