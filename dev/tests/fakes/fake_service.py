"""Stands in for a service: healthy, with a worker process that ignores SIGTERM."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"


class Gif(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # the base class names it
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    print(f"{sys.argv[1:]} with {os.environ.get('DATABASE_URL', 'no database')}")
    import grpc
    from grpc_health.v1 import health, health_pb2_grpc

    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    server.add_insecure_port(f"127.0.0.1:{os.environ['GRPC_PORTS']}")
    worker = subprocess.Popen([sys.executable, "-S", "-c", DEAF])
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    if "HTTP_PORT" in os.environ:
        http = ThreadingHTTPServer(("127.0.0.1", int(os.environ["HTTP_PORT"])), Gif)
        threading.Thread(target=http.serve_forever, daemon=True).start()
    server.start()
    print("serving", flush=True)
    stopped.wait()
    server.stop(0.1).wait()
    worker.kill()
