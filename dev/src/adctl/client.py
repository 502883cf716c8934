"""A client of the platform's public HTTP API, as a customer's program uses it."""

from dataclasses import dataclass, field
from typing import Any

import httpx


class Refused(Exception):
    """The platform returned an error; `status` is the HTTP status, `reason` the ErrorInfo's."""

    def __init__(self, method: str, path: str, status: int, body: Any) -> None:
        self.status = status
        self.body = body
        details = body.get("details", []) if isinstance(body, dict) else []
        self.reason: str = next((detail["reason"] for detail in details if "reason" in detail), "")
        message = body.get("message", body) if isinstance(body, dict) else body
        super().__init__(f"{method} {path} answered {status} {self.reason}: {message}")


@dataclass
class Client:
    """Calls the gateway as one person, in one organization after sign-in."""

    gateway_url: str
    token: str = ""
    organization_id: str = ""
    _http: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._http = httpx.Client(base_url=self.gateway_url, timeout=20.0, trust_env=False)

    def sign_up(self, **fields: str) -> Any:
        """Sign up and stay signed in; return the answer."""
        signed = self.post("/auth/signup", fields)
        self.token, self.organization_id = signed["accessToken"], signed["organization"]["id"]
        return signed

    def log_in(self, email: str, password: str) -> Any:
        """Sign in to the first organization of the profile; return the profile."""
        self.token = self.post("/auth/login", {"email": email, "password": password})["accessToken"]
        profile = self.get("/auth/profile")
        self.organization_id = profile["memberships"][0]["organizationId"]
        return profile

    def get(self, path: str, **query: str | int) -> Any:
        """Send a GET and return the answer's JSON; Refused."""
        return self.request("GET", path, params=query)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """Send a POST and return the answer's JSON; Refused. `headers` are named with _ instead of -."""
        return self.request("POST", path, json={} if body is None else body, headers=headers)

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Send a request and return the answer's JSON; Refused."""
        own = {"authorization": f"Bearer {self.token}"} if self.token else {}
        if self.organization_id:
            own["organization-id"] = self.organization_id
        given = {name.replace("_", "-"): value for name, value in options.pop("headers", {}).items()}
        answer = self._http.request(method, path, headers=own | given, **options)
        body: Any = answer.json() if "json" in answer.headers.get("content-type", "") else answer.text
        if answer.is_error:
            raise Refused(method, path, answer.status_code, body)
        return body
