"""Misbehaviour on demand: slow, failing and lost answers; webhooks twice, in the wrong order, not at all, forged."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adsandbox.control import ControlError, read_object

MAX_DELAY_MS = 600_000


@dataclass
class Behaviour:
    """The misbehaviour of an outside system. It is not stored: a new process behaves well."""

    delay_ms: int = 0
    fail_rate: float = 0.0
    fail_next: int = 0
    status: int = 503
    lose_answers: bool = False
    duplicate_webhooks: bool = False
    shuffle_webhooks: bool = False
    drop_webhooks: bool = False
    forge_webhooks: bool = False

    def __post_init__(self) -> None:
        self._well = asdict(self)

    def change(self, wanted: dict[str, Any]) -> None:
        """Set the named values, all or none; ControlError for an unknown name or a wrong value."""
        known = {field.name: field.type for field in fields(self)}
        for name, value in wanted.items():
            if name not in known:
                raise ControlError(400, f"{name} is not a behaviour; there are {', '.join(known)}")
            _check(name, value, known[name])
        for name, value in wanted.items():
            setattr(self, name, float(value) if name == "fail_rate" else value)

    def reset(self) -> None:
        """End all misbehaviour."""
        self.change(self._well)

    def consume_failure(self) -> bool:
        """Decide whether this request fails, and decrement `fail_next`."""
        if self.fail_next > 0:
            self.fail_next -= 1
            return True
        return self.fail_rate > 0 and random.random() < self.fail_rate


def _check(name: str, value: Any, wanted: Any) -> None:
    number = isinstance(value, int) and not isinstance(value, bool)
    if wanted is bool:
        if not isinstance(value, bool):
            raise ControlError(400, f"{name} must be true or false")
    elif name == "fail_rate":
        if isinstance(value, bool | str | list | dict | None) or not 0 <= value <= 1:
            raise ControlError(400, "fail_rate must be a number from 0 to 1")
    elif name == "status":
        if not number or not 400 <= value <= 599:
            raise ControlError(400, "status must be from 400 to 599")
    elif not number or not 0 <= value <= MAX_DELAY_MS:
        raise ControlError(400, f"{name} must be a whole number from 0 to {MAX_DELAY_MS}")


class Misbehave:
    """Applies a behaviour to the outside system's own API; the control endpoints are exempt."""

    def __init__(self, app: ASGIApp, behaviour: Behaviour, failure: Callable[[int], Response]) -> None:
        self._app = app
        self._behaviour = behaviour
        self._failure = failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Delay the request, then fail it or pass it on. A lost answer is a failure after the request was served."""
        if scope["type"] != "http" or scope["path"].startswith("/sandbox/"):
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(self._behaviour.delay_ms / 1000)
        if not self._behaviour.consume_failure():
            await self._app(scope, receive, send)
            return
        if self._behaviour.lose_answers:
            await self._app(scope, receive, _swallow)
        response = self._failure(self._behaviour.status)
        if self._behaviour.status in (429, 503):
            response.headers["Retry-After"] = "1"
        await response(scope, receive, send)


async def _swallow(_: Message) -> None:
    return


def behaviour_routes(behaviour: Behaviour) -> list[Route]:
    """Return the routes of /sandbox/behaviour."""

    async def show(request: Request) -> Response:
        if request.method == "PUT":
            behaviour.change(await read_object(request))
        elif request.method == "DELETE":
            behaviour.reset()
        return JSONResponse(asdict(behaviour))

    return [Route("/sandbox/behaviour", show, methods=["GET", "PUT", "DELETE"])]
