"""Amounts of money: integer micros of a currency, 1,000,000 micros to the unit; never a float."""

from decimal import Decimal

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import InvalidArgument, InvalidField

MICROS = 1_000_000
DEFAULT_CURRENCY = "USD"

# Decimal places of the minor unit (ISO 4217) of each currency in which organizations have wallets.
_MINOR_DIGITS = {"EUR": 2, "GBP": 2, "JPY": 0, "USD": 2}
CURRENCIES = tuple(sorted(_MINOR_DIGITS))


class CurrencyUnsupported(InvalidArgument):
    """The platform has no wallets in the currency."""

    reason = ErrorReason.CURRENCY_UNSUPPORTED

    def __init__(self, currency_code: str) -> None:
        supported = ", ".join(CURRENCIES)
        super().__init__(
            f"currencyCode {currency_code} is not supported; use one of {supported}", currencyCode=currency_code
        )


def currency(code: str) -> str:
    """Returns the code, or USD if it is empty; CURRENCY_UNSUPPORTED."""
    code = code or DEFAULT_CURRENCY
    if code not in _MINOR_DIGITS:
        raise CurrencyUnsupported(code)
    return code


def to_minor(amount_micros: int, currency_code: str, field: str = "amountMicros") -> int:
    """Converts micros to minor units (cents); INVALID_FIELD if the amount is not a whole number of them."""
    per_minor = micros_per_minor(currency_code)
    minor, rest = divmod(amount_micros, per_minor)
    if rest:
        raise InvalidField(field, f"must be a whole number of minor units of {currency_code} ({per_minor} micros each)")
    return minor


def from_minor(amount_minor: int, currency_code: str) -> int:
    """Converts minor units (cents) to micros."""
    return amount_minor * micros_per_minor(currency_code)


def floor_to_minor(amount_micros: int, currency_code: str) -> int:
    """Rounds an amount in micros down to whole minor units (cents)."""
    return amount_micros - amount_micros % micros_per_minor(currency_code)


def micros_per_minor(currency_code: str) -> int:
    """The micros of one minor unit (cent)."""
    return MICROS // int(10 ** _MINOR_DIGITS[currency(currency_code)])


def to_decimal(amount_micros: int) -> Decimal:
    """Converts micros to units, without rounding."""
    return Decimal(amount_micros) / MICROS


def from_decimal(amount: Decimal) -> int:
    """Converts units to micros; truncates fractions of a micro."""
    return int(amount * MICROS)


def share(amount_micros: int, basis_points: int) -> int:
    """The share of an amount in basis points (hundredths of a percent), rounded down."""
    return amount_micros * basis_points // 10_000
