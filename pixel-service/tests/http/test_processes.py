"""The gRPC server and the tracking process that it supervises."""

import os
import signal
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import grpc
import httpx
import psutil
import redis
from adplatform.events.v1.events_pb2 import TrackingEvent
from grpc_health.v1 import health_pb2, health_pb2_grpc

from adctl import ports
from adtesting import eventually
from pixel_service.pixels.model import Pixel


def is_ready(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        status = check(health_pb2.HealthCheckRequest(), timeout=2).status
    return bool(status == health_pb2.HealthCheckResponse.SERVING)


def test_service_restarts_a_killed_tracking_process_and_stops_it_at_the_end(
    start: Callable[..., Any], shared: redis.Redis, add_pixel: Callable[..., Pixel]
) -> None:
    grpc_port = ports.free_port()
    service = start(GRPC_PORTS=str(grpc_port))
    assert eventually(lambda: is_ready(grpc_port))
    pixel = add_pixel()
    assert httpx.get(f"{service.url}/track/pixel/{pixel.id}").status_code == 200

    def events() -> list[TrackingEvent]:
        entries: Any = shared.xrange("bus:events")
        return [TrackingEvent.FromString(fields[b"m"]) for _, fields in entries]

    assert eventually(events)[0].pixel_id == str(pixel.id)
    (child,) = psutil.Process(service.process.pid).children()
    os.kill(child.pid, signal.SIGKILL)
    assert eventually(service.is_healthy, within_s=60)
    assert eventually(lambda: is_ready(grpc_port))
    (child,) = psutil.Process(service.process.pid).children()
    assert service.stop() == 0
    assert not child.is_running()


def test_tracking_process_stops_when_its_parent_is_killed(start: Callable[..., Any]) -> None:
    service = start()
    (child,) = psutil.Process(service.process.pid).children()
    service.kill()
    assert eventually(lambda: not child.is_running(), within_s=5)


def test_tracking_process_serves_its_metrics(tracking: Any) -> None:
    def batches() -> float:
        lines = httpx.get(f"{tracking.url}/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("collector_batch_messages_count"))

    before = batches()
    assert httpx.get(f"{tracking.url}/track/pixel/{uuid4()}").status_code == 200
    assert batches() == before + 1
