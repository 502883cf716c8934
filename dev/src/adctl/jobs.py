"""The scheduled jobs, as the contract describes them, and how they are run through the gateway."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import httpx

from adctl.children import ChildError

_PREFIX = "/jobs/"
# A job answers when it is done; the longest one goes through all campaigns.
_TIMEOUT_SECONDS = 300.0


class JobError(ChildError):
    """A job could not be run; the text is for people."""


@dataclass(frozen=True)
class Job:
    """A job of the contract."""

    name: str
    path: str
    service: str
    """Which service does it; tokens are for that one only."""
    identities: tuple[str, ...]
    """Whose service tokens may start it."""


def find() -> dict[str, Job]:
    """Return all jobs by name: RPCs for services that have an HTTP binding."""
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
            jobs[path] = Job(path.removeprefix(_PREFIX), path, _service(package), identities)
    return {job.name: job for job in jobs.values()}


def _service(package: str) -> str:
    """`adplatform.campaign.v1` is campaign-service's."""
    return f"{package.split('.')[1]}-service"


def named(name: str) -> Job:
    """Return a job by its name, or a JobError that lists the known ones."""
    known = find()
    if name not in known:
        raise JobError(f"there is no job {name!r}; there are: {', '.join(sorted(known))}")
    return known[name]


def run(gateway_url: str, job: Job, token: Callable[[str], str]) -> dict[str, Any]:
    """Run a job and return its JobResult as JSON; JobError when it did not answer one.

    `token` makes a token for the service it is given the name of.
    """
    try:
        answer = httpx.post(
            gateway_url + job.path,
            json={},
            headers={"authorization": f"Bearer {token(job.service)}"},
            timeout=_TIMEOUT_SECONDS,
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


def failures(result: dict[str, Any]) -> Iterator[str]:
    """What a run failed at and why, a line each; the last says how many are not named."""
    named = result.get("failures", [])
    yield from (f"{one.get('item', '')}: {one.get('reason', '')}" for one in named)
    if (more := int(result.get("stats", {}).get("errorCount", 0)) - len(named)) > 0:
        yield f"and {more} more"
