"""A full disk loses log lines, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import logging
from adlib.telemetry import configure_logging, logger
from prometheus_client import REGISTRY

configure_logging("test-service")
for _ in range(100):
    logger("test").info("rpc", text="x" * 1000)
    logging.getLogger("library").warning("beside")
print(REGISTRY.get_sample_value("log_lines_lost_total") > 0)
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this kernel has no device that is always full")
def test_full_disk_under_the_log_does_not_fail_calls() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=full, text=True, timeout=60, check=False
        )
    assert done.stdout == "True\n"
