"""Reading JSON and rendering errors at the control endpoints of every sandbox."""

import json
from decimal import Decimal
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

MAX_INTEGER = 2**53


class BadJson(Exception):
    """The body is not a JSON object; the message has the position."""


class ControlError(Exception):
    """A control request that is refused, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def read_object(request: Request) -> dict[str, Any]:
    """Return the body's JSON object; fractions are Decimal, never float."""
    try:
        found = json.loads(await request.body(), parse_float=Decimal, parse_constant=_no_constant)
    except ValueError as error:
        raise BadJson(f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadJson("the body must be a JSON object")
    return found


def non_negative(body: dict[str, Any], name: str) -> int:
    """Return the integer `name`, 0 by default; ControlError if it is negative or no integer."""
    value = body.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_INTEGER:
        raise ControlError(400, f"{name} must be a whole number, 0 or more")
    return value


async def health(_: Request) -> Response:
    """Answer 200."""
    return JSONResponse({"status": "ok"})


def control_error(_: Request, error: Exception) -> Response:
    """Render ControlError and BadJson."""
    status = error.status if isinstance(error, ControlError) else 400
    return JSONResponse({"error": {"message": str(error)}}, status)


def not_found(request: Request, error: Exception) -> Response:
    """Render the framework's errors and OverflowError, which an id beyond SQLite's integers raises."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    message = f"{request.method} {request.url.path} is not something this sandbox answers"
    return JSONResponse({"error": {"message": message}}, status)


HEALTH = Route("/sandbox/health", health, methods=["GET"])


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
