"""gRPC for every service: the server with its interceptors, and the client."""

from adlib.rpc.call import NO_ORGANIZATION, Call, Caller
from adlib.rpc.client import Remote
from adlib.rpc.server import Runnable, Server, ServiceProcess, Settings
from adlib.rpc.workers import serve

__all__ = ["NO_ORGANIZATION", "Call", "Caller", "Remote", "Runnable", "Server", "ServiceProcess", "Settings", "serve"]
