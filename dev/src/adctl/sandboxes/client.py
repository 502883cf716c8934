"""Calls of the sandboxes' control endpoints."""

from typing import Any

import httpx

from adctl.errors import UserError
from adctl.state import SANDBOXES, State

_TIMEOUT_S = 10.0
_MAX_ATTEMPTS = 3


class SandboxError(UserError):
    """A sandbox refused a request or does not answer."""


NAMES = tuple(name.removesuffix("-sandbox") for name in SANDBOXES.values())


def call(state: State, name: str, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send a control request and return its JSON; SandboxError.

    A request without an answer is repeated if it is idempotent: not a POST, or one with a `request_id`.
    """
    is_idempotent = method != "POST" or "request_id" in (body or {})
    url = state.url(f"{name}-sandbox") + path
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        try:
            answer = httpx.request(method, url, json=body, timeout=_TIMEOUT_S, trust_env=False)
            break
        except httpx.HTTPError as error:
            if not is_idempotent or attempt == _MAX_ATTEMPTS:
                raise SandboxError(f"the {name} sandbox does not answer ({error}); is the platform up?") from None
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SandboxError(f"{name} sandbox: {method} {path} answered {answer.status_code} without JSON")
    if answer.is_error:
        errors = found.get("errors") or [found.get("error")]
        message = errors[0].get("message") if isinstance(errors[0], dict) else None
        raise SandboxError(f"{name} sandbox: {message or answer.status_code}")
    return found


def set_behaviour(state: State, name: str, **settings: Any) -> dict[str, Any]:
    """Set a sandbox's misbehaviour, or reset it when there are no settings; return the behaviour now in effect."""
    if settings:
        return call(state, name, "PUT", "/sandbox/behaviour", settings)
    return call(state, name, "DELETE", "/sandbox/behaviour")
