"""Stripe's wire format: decodes form fields, checks parameters and renders errors."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.responses import JSONResponse, Response

MAX_AMOUNT = 99_999_999
# Of a payment, in minor units.
DEFAULT_MIN_AMOUNT = 50
MIN_AMOUNTS = {"gbp": 30, "aed": 200, "dkk": 250, "nok": 300, "sek": 300, "hkd": 400, "mxn": 1000, "czk": 1500}
CURRENCIES = frozenset(
    {"aed", "ars", "aud", "brl", "cad", "chf", "clp", "cny", "cop", "czk", "dkk", "eur", "gbp", "hkd", "huf", "idr"}
    | {"ils", "inr", "jpy", "krw", "mxn", "myr", "nok", "nzd", "pen", "php", "pln", "ron", "sar", "sek", "sgd", "thb"}
    | {"try", "twd", "uah", "usd", "vnd", "zar"}
)
MAX_METADATA = 50
MAX_KEY_LENGTH = 40
MAX_VALUE_LENGTH = 500

_BRACKETS = re.compile(r"\[([^\]]*)\]")


class StripeError(Exception):
    """A request that Stripe refuses without any effect."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status = status
        found = {"code": code, "message": message, "param": param, "type": kind}
        if code:
            found["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
        self.body = {"error": {name: value for name, value in found.items() if value is not None}}

    def response(self) -> Response:
        """Return the error as Stripe's answer."""
        headers = {"WWW-Authenticate": 'Basic realm="Stripe"'} if self.status == 401 else None
        return JSONResponse(self.body, self.status, headers)


@dataclass(frozen=True)
class Call:
    """A request with a valid key, decoded."""

    method: str
    path: str
    parameters: dict[str, Any]
    request_id: str
    idempotency_key: str | None
    object_id: str


def decode(form: str) -> dict[str, Any]:
    """Return nested parameters of `metadata[payment_id]=1&expand[]=a&types[0]=b`; lists are dicts by position."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(form, keep_blank_values=True):
        head = name.split("[", 1)[0]
        path = [head, *_BRACKETS.findall(name[len(head) :])]
        place = found
        for step in path[:-1]:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise StripeError(f"Invalid {head}: it is given both as a value and as an object", param=head)
        place[path[-1] or str(len(place))] = value
    return found


def refuse_unknown(parameters: dict[str, Any], *known: str) -> None:
    """Raise StripeError for a parameter that the endpoint does not have."""
    for name in parameters:
        if name not in known and name != "expand":
            raise StripeError(f"Received unknown parameter: {name}", code="parameter_unknown", param=name)


def integer(parameters: dict[str, Any], name: str) -> int | None:
    """Return an integer parameter, or None without it."""
    value = parameters.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise StripeError(f"Invalid integer: {value}", code="parameter_invalid_integer", param=name)
    return int(value)


def required(parameters: dict[str, Any], name: str) -> Any:
    """Return the parameter's value; StripeError without it."""
    if parameters.get(name) in (None, ""):
        raise StripeError(f"Missing required param: {name}.", code="parameter_missing", param=name)
    return parameters[name]


def amount(parameters: dict[str, Any]) -> tuple[int, str]:
    """Return the amount in minor units and the currency, within Stripe's limits."""
    required(parameters, "amount")
    currency = str(required(parameters, "currency")).lower()
    minor = integer(parameters, "amount") or 0
    if currency not in CURRENCIES:
        listed = ", ".join(sorted(CURRENCIES))
        raise StripeError(f"Invalid currency: {currency}. Stripe currently supports these: {listed}", param="currency")
    if minor < 1:
        raise StripeError(
            "This value must be greater than or equal to 1.", code="parameter_invalid_integer", param="amount"
        )
    if minor < (least := MIN_AMOUNTS.get(currency, DEFAULT_MIN_AMOUNT)):
        raise StripeError(
            f"Amount must be at least {least} {currency} in minor units", code="amount_too_small", param="amount"
        )
    if minor > MAX_AMOUNT:
        raise StripeError(
            f"Amount must be no more than {MAX_AMOUNT} {currency} in minor units",
            code="amount_too_large",
            param="amount",
        )
    return minor, currency


def metadata(parameters: dict[str, Any]) -> dict[str, str]:
    """Return the metadata, within Stripe's limits."""
    found = parameters.get("metadata") or {}
    if not isinstance(found, dict):
        raise StripeError("Invalid object", param="metadata")
    if len(found) > MAX_METADATA:
        raise StripeError(f"You can have up to {MAX_METADATA} metadata keys.", param="metadata")
    for key, value in found.items():
        if not isinstance(value, str) or len(key) > MAX_KEY_LENGTH or len(value) > MAX_VALUE_LENGTH:
            raise StripeError(
                f"Metadata keys have up to {MAX_KEY_LENGTH} characters and values up to {MAX_VALUE_LENGTH}: {key[:80]}",
                param=f"metadata[{key[:80]}]",
            )
    return {key: value for key, value in found.items() if value != ""}
