"""The Firestore emulator of the Google Cloud SDK, if it is installed."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from adctl import ports
from adtesting import eventually

_MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"


def _jar() -> Path:
    """The emulator's JAR in the SDK folder that the `gcloud` on the PATH links to."""
    gcloud, java = shutil.which("gcloud"), shutil.which("java")
    if not (gcloud and java):
        pytest.skip("no FIRESTORE_EMULATOR_HOST, and no gcloud and java to start Google's emulator with")
    jar = Path(gcloud).resolve().parent.parent / "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"
    if not jar.exists():
        pytest.skip("no FIRESTORE_EMULATOR_HOST, and gcloud has no Firestore emulator")
    return jar


@pytest.fixture(scope="session")
def firestore_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The emulator's host and port; a new project is empty."""
    if given := os.environ.get("FIRESTORE_EMULATOR_HOST"):
        yield given
        return
    jar, port = _jar(), ports.free_port()
    log = tmp_path_factory.mktemp("firestore") / "log"
    with log.open("wb") as output:
        command = [
            "java",
            "-Duser.language=en",
            "-Xmx256m",
            "-cp",
            str(jar),
            _MAIN,
            "--host=127.0.0.1",
            f"--port={port}",
        ]
        emulator = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        eventually(lambda: socket.create_connection(("127.0.0.1", port), timeout=1).close() or True, within_s=30)
        yield f"127.0.0.1:{port}"
    finally:
        emulator.terminate()
        emulator.wait(10)
