"""A payment's receipt, and the text on it."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from adlib.money import MICROS, from_minor

# The limit of remittance information in ISO 20022; longer text is cut, so that a row always fits on a page.
MAX_TEXT_LENGTH = 140


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptDeposit:
    """A deposit on a receipt; `asset_amount` is in the asset's smallest unit, as in the contract's Deposit."""

    at: datetime
    amount_micros: int
    is_reversed: bool = False
    asset: str = ""
    asset_amount: int | None = None
    rate: Decimal | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def transaction_hash(self) -> str:
        """The hash of its transaction; empty unless it was sent on a chain."""
        return plain((self.detail.get("chain") or {}).get("transaction_hash", ""))

    @property
    def sender_name(self) -> str:
        """The sender, as the bank reports it."""
        return plain(self.detail.get("sender_name", ""))

    @property
    def remittance_text(self) -> str:
        """The sender's remittance text."""
        return plain(self.detail.get("remittance_text", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The receipt of a credited payment, numbered within its organization.

    `deposits` are the newest ones, out of `deposit_count`. `organization_name` is empty if it is not known. `issuer`:
    the lines of text that identify the issuer. `payment_method`: that of the provider.
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
    payment_method: str = ""
    deposits: Sequence[ReceiptDeposit] = ()
    deposit_count: int = 0

    @property
    def label(self) -> str:
        """The number as printed."""
        return f"R-{self.number:06}"

    @property
    def payer(self) -> str:
        """The organization's name; empty if it is not known."""
        return plain(self.organization_name)

    @property
    def paid_by(self) -> str:
        """The payment method."""
        if token := self.instructions.get("token"):
            return plain(f"{token} on chain {self.instructions.get('chain_id')} (EIP-155)")
        return self.payment_method

    @property
    def reference(self) -> str:
        """The reference of the bank transfer; empty for other payment methods."""
        return plain(self.instructions.get("reference", ""))

    @property
    def address(self) -> str:
        """The address that coins were sent to; empty for other payment methods."""
        return plain(self.instructions.get("address", ""))

    @property
    def omitted_count(self) -> int:
        """The number of older deposits that are not listed."""
        return self.deposit_count - len(self.deposits)

    def sent(self, deposit: ReceiptDeposit) -> str:
        """The amount in the deposit's asset; empty if that is the currency itself."""
        if deposit.asset_amount is None:
            return ""
        if deposit.asset == self.instructions.get("token"):
            amount = units(deposit.asset_amount, int(self.instructions.get("decimals", 0)))
        else:
            amount = f"{deposit.asset_amount} of the smallest unit of"
        at = "" if deposit.rate is None else f" at {self.currency_code} {_trimmed(deposit.rate)} each"
        return plain(f"{amount} {deposit.asset}{at}")


def money(amount_micros: int, currency_code: str) -> str:
    """The amount with all digits of its minor unit, and further digits if they are not zero."""
    per_minor = from_minor(1, currency_code)
    whole, rest = divmod(abs(amount_micros), MICROS)
    digits = f"{rest:06}"
    minor_digits = len(str(MICROS // per_minor)) - 1
    fraction = digits[:minor_digits] + digits[minor_digits:].rstrip("0")
    sign = "-" if amount_micros < 0 else ""
    return f"{currency_code} {sign}{whole:,}{'.' if fraction else ''}{fraction}"


def units(smallest: int, decimals: int) -> str:
    """An amount in an asset's smallest unit, converted to whole units exactly."""
    return _trimmed(Decimal((0, tuple(int(digit) for digit in str(smallest)), -decimals)))


def plain(text: object) -> str:
    """Untrusted text as one line of at most MAX_TEXT_LENGTH characters, without control and format characters."""
    whole = str(text)
    # The rest would be cut off.
    head = whole[: 4 * MAX_TEXT_LENGTH]
    shown = "".join(
        " " if category in ("Cc", "Zl", "Zp") else character
        for character in unicodedata.normalize("NFC", head)
        if (category := unicodedata.category(character)) not in ("Cf", "Cs")
    )
    line = " ".join(shown.split())
    return line if len(line) <= MAX_TEXT_LENGTH and head == whole else f"{line[: MAX_TEXT_LENGTH - 1]}…"


def _trimmed(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
