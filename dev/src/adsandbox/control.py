"""What every sandbox's /sandbox/ endpoints share: reading JSON, and saying what was wrong with it."""

import json
from decimal import Decimal
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

MAX_INTEGER = 2**53


class BadJson(Exception):
    """A body that is not one JSON object; the message says where."""


class ControlError(Exception):
    """A control request that cannot be done."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object; fractions become Decimal, never float."""
    try:
        found = json.loads(await request.body(), parse_float=Decimal, parse_constant=_no_constant)
    except ValueError as error:
        raise BadJson(f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadJson("the body must be a JSON object")
    return found


def counted(body: dict[str, Any], name: str) -> int:
    """A whole number that is not negative; 0 where it is not given."""
    value = body.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_INTEGER:
        raise ControlError(400, f"{name} must be a whole number, 0 or more")
    return value


async def health(_: Request) -> Response:
    """Answers as soon as the sandbox serves."""
    return JSONResponse({"status": "ok"})


def control_error(_: Request, error: Exception) -> Response:
    """Renders ControlError and BadJson on the control endpoints."""
    status = error.status if isinstance(error, ControlError) else 400
    return JSONResponse({"error": {"message": str(error)}}, status)


def not_found(request: Request, error: Exception) -> Response:
    """Renders the framework's own errors, and a number that no row can have: such a thing does not exist."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    message = f"{request.method} {request.url.path} is not something this sandbox answers"
    return JSONResponse({"error": {"message": message}}, status)


HEALTH = Route("/sandbox/health", health, methods=["GET"])


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
