"""The scheduled jobs of the contract, and their runs through the gateway."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import httpx

from adctl.errors import UserError

_PATH_PREFIX = "/jobs/"
# A job answers when it has ended; the longest one reads all campaigns.
_TIMEOUT_S = 300.0


class JobError(UserError):
    """A job could not be run."""


@dataclass(frozen=True)
class Job:
    """A job of the contract."""

    name: str
    path: str
    service: str
    """The service that runs it, which is the audience of the caller's token."""
    identities: tuple[str, ...]
    """The identities whose service tokens may start it."""
    schedule: str = ""
    """A crontab expression, in UTC; empty if it runs only by hand."""


def find() -> dict[str, Job]:
    """Return all jobs by name: the RPCs for service tokens that have an HTTP binding."""
    from adplatform.options.v1 import options_pb2
    from google.api import annotations_pb2
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    contract = FileDescriptorSet.FromString((files("adplatform") / "gateway.pb").read_bytes())
    methods = (
        (file.package, method) for file in contract.file for service in file.service for method in service.method
    )
    jobs = {}
    for package, method in methods:
        identities = tuple(method.options.Extensions[options_pb2.auth].services)
        path = method.options.Extensions[annotations_pb2.http].post
        if identities and path:
            name, schedule = path.removeprefix(_PATH_PREFIX), method.options.Extensions[options_pb2.job].schedule
            jobs[name] = Job(name, path, _service(package), identities, schedule)
    return jobs


def _service(package: str) -> str:
    """Return the service of a proto package: campaign-service for `adplatform.campaign.v1`."""
    return f"{package.split('.')[1]}-service"


def named(name: str) -> Job:
    """Return a job by its name; JobError with the known names if there is none."""
    known = find()
    if name not in known:
        raise JobError(f"there is no job {name!r}; there are: {', '.join(sorted(known))}")
    return known[name]


def run(gateway_url: str, job: Job, token: Callable[[str], str]) -> dict[str, Any]:
    """Run a job and return its JobResult as JSON; JobError if it does not return one.

    `token` creates a token for the service with the given name.
    """
    try:
        answer = httpx.post(
            gateway_url + job.path,
            json={},
            headers={"authorization": f"Bearer {token(job.service)}"},
            timeout=_TIMEOUT_S,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        raise JobError(f"{gateway_url}{job.path} does not answer ({error}); is the platform up?") from None
    try:
        result = answer.json()
    except ValueError:
        result = {}
    if answer.status_code != 200 or not isinstance(result, dict):
        message = result.get("message", answer.text[:200]) if isinstance(result, dict) else answer.text[:200]
        raise JobError(f"POST {job.path} answered {answer.status_code}: {message}")
    return result


def failure_lines(result: dict[str, Any]) -> list[str]:
    """Return a line for each failed item that the result names, and one with the number of the others."""
    failures = result.get("failures", [])
    lines = [f"{one.get('item', '')}: {one.get('reason', '')}" for one in failures]
    unnamed = int(result.get("stats", {}).get("errorCount", 0)) - len(failures)
    return [*lines, f"and {unnamed} more"] if unnamed > 0 else lines
