import socket
from pathlib import Path

from adctl import ports
from adctl.platform.doctor import examine


def test_doctor_names_the_holder_of_a_taken_port_and_passes_every_other_check(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind((ports.LOOPBACK, 0))
        listener.listen()
        port = listener.getsockname()[1]
        findings = {finding.name: finding for finding in examine(tmp_path / "new" / "home", port, is_running=False)}
    assert "18." in findings["PostgreSQL"].found
    assert "(pid " in findings["gateway"].found
    assert "--port" in findings["gateway"].remedy
    assert all(not findings[name].remedy for name in ("Python", "PostgreSQL", "Valkey", "Envoy", "account", "state"))
