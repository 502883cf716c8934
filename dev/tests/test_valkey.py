from pathlib import Path

import redis

from adctl.embedded.valkey import ValkeyServer


def test_valkey_data_survives_a_kill(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "a folder" / "valkey")
    with server, redis.Redis.from_url(server.url(3), decode_responses=True) as client:
        client.xadd("bus:events", {"id": "1"})
        server.kill()
        server.start()
        assert client.xlen("bus:events") == 1


def test_valkey_password_is_in_a_file_readable_by_its_owner_only(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path) as server:
        assert (tmp_path / "valkey.conf").stat().st_mode & 0o077 == 0
        assert server.password.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
