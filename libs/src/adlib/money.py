"""Money: whole micros of a currency (1,000,000 micros are one unit), never a float."""

from decimal import Decimal

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import InvalidArgument, InvalidField

MICROS = 1_000_000
DEFAULT_CURRENCY = "USD"

# Decimal places of the minor unit, ISO 4217, of the currencies that the platform keeps wallets in.
_MINOR_DIGITS = {"EUR": 2, "GBP": 2, "JPY": 0, "USD": 2}
CURRENCIES = tuple(sorted(_MINOR_DIGITS))


class CurrencyUnsupported(InvalidArgument):
    """None of the currencies that the platform keeps wallets in."""

    reason = ErrorReason.CURRENCY_UNSUPPORTED

    def __init__(self, currency_code: str) -> None:
        known = ", ".join(sorted(_MINOR_DIGITS))
        super().__init__(
            f"currencyCode {currency_code} is not supported; use one of {known}", currencyCode=currency_code
        )


def currency(code: str) -> str:
    """`code`, or USD where it is empty; CURRENCY_UNSUPPORTED where there are no wallets in it."""
    code = code or DEFAULT_CURRENCY
    if code not in _MINOR_DIGITS:
        raise CurrencyUnsupported(code)
    return code


def to_minor(amount_micros: int, currency_code: str, field: str = "amountMicros") -> int:
    """The amount in minor units (cents); INVALID_FIELD where it is no whole number of them."""
    per_minor = micros_per_minor(currency_code)
    minor, rest = divmod(amount_micros, per_minor)
    if rest:
        raise InvalidField(field, f"must be a whole number of minor units of {currency_code} ({per_minor} micros each)")
    return minor


def from_minor(amount_minor: int, currency_code: str) -> int:
    """Micros of an amount in minor units (cents)."""
    return amount_minor * micros_per_minor(currency_code)


def floor_to_minor(amount_micros: int, currency_code: str) -> int:
    """The amount rounded down to whole minor units (cents), in micros."""
    return amount_micros - amount_micros % micros_per_minor(currency_code)


def micros_per_minor(currency_code: str) -> int:
    """Micros of one minor unit (a cent)."""
    return MICROS // int(10 ** _MINOR_DIGITS[currency(currency_code)])


def to_decimal(amount_micros: int) -> Decimal:
    """The amount in units, exactly."""
    return Decimal(amount_micros) / MICROS


def from_decimal(amount: Decimal) -> int:
    """Whole micros of an amount in units; a fraction of a micro is cut off."""
    return int(amount * MICROS)


def share(amount_micros: int, basis_points: int) -> int:
    """The part of an amount that so many hundredths of a percent are, rounded down."""
    return amount_micros * basis_points // 10_000
