"""The contract's schedules as Cloud Scheduler's jobs.

Each is a `Job` of its REST API (https://cloud.google.com/scheduler/docs/reference/rest/v1/projects.locations.jobs), to
be created or patched under its name.
"""

import base64
from typing import Any

from adctl.keys import SCHEDULER
from adctl.operations import jobs

# Cloud Scheduler waits this long for a job's answer; the longest job reads all campaigns.
_ATTEMPT_DEADLINE = "300s"


def resources(parent: str, gateway_url: str, service_account: str) -> list[dict[str, Any]]:
    """The jobs that have a schedule and admit the identity `scheduler`.

    `parent` is `projects/PROJECT/locations/LOCATION`. `service_account` is an e-mail address that the services'
    GOOGLE_SERVICE_ACCOUNTS maps to `scheduler`.
    """
    return [
        {
            "name": f"{parent}/jobs/{job.name}",
            "schedule": job.schedule,
            "timeZone": "Etc/UTC",
            "attemptDeadline": _ATTEMPT_DEADLINE,
            # A failed run is repeated at its next time, as by the local scheduler.
            "retryConfig": {"retryCount": 0},
            "httpTarget": {
                "uri": gateway_url.rstrip("/") + job.path,
                "httpMethod": "POST",
                "headers": {"Content-Type": "application/json"},
                "body": base64.b64encode(b"{}").decode(),
                "oidcToken": {"serviceAccountEmail": service_account, "audience": job.service},
            },
        }
        for job in jobs.find().values()
        if job.schedule and SCHEDULER in job.identities
    ]
