"""The command of container health checks: exits 0 if the server at host:port, or on GRPC_PORTS, answers SERVING."""

import os
import sys

import grpc
from grpc_health.v1 import health, health_pb2


def main() -> None:
    """Checks the server once, with a timeout of 3 s."""
    target = sys.argv[1] if len(sys.argv) > 1 else f"127.0.0.1:{os.environ['GRPC_PORTS'].split(',')[0]}"
    try:
        check = grpc.insecure_channel(target).unary_unary(
            f"/{health.SERVICE_NAME}/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        answer = check(health_pb2.HealthCheckRequest(), timeout=3)
    except grpc.RpcError:
        sys.exit(1)
    sys.exit(answer.status != health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    main()
