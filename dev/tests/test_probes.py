from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from adctl import ports
from adctl.embedded.postgres import PostgresServer
from adctl.embedded.valkey import ValkeyServer
from adctl.supervision import probes


def test_grpc_probe_follows_the_health_service() -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    assert probes.grpc_serving(port)
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert not probes.grpc_serving(port)
    server.stop(None).wait()
    assert not probes.grpc_serving(port)


def test_server_without_health_service_is_not_serving() -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    assert not probes.grpc_serving(port)
    server.stop(None).wait()


def test_frozen_postgres_fails_its_probe(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "data", fsync=False) as server:
        assert probes.postgres_answers(server.port)
        frozen = psutil.Process(server.pid)
        frozen.suspend()
        try:
            assert not probes.postgres_answers(server.port)
        finally:
            frozen.resume()
        assert probes.postgres_answers(server.port)
    server.cluster.delete()
    assert not probes.postgres_answers(server.port)


def test_closed_ports_and_other_protocols_fail_probes(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path) as valkey:
        assert not probes.grpc_serving(valkey.port)
        assert not probes.http_ok(valkey.port, "/")
    closed = ports.free_port()
    assert not probes.grpc_serving(closed)
    assert not probes.http_answers(closed)
