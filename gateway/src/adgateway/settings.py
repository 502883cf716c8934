"""Settings of a gateway."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

Address = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One gateway's listener, upstream services and trusted parties."""

    listen_port: int
    admin_port: int
    endpoints: Mapping[str, Sequence[Address]]
    """Service name, such as auth-service, to the gRPC addresses of its workers."""
    pixel_http: Sequence[Address]
    """HTTP addresses of pixel-service, which serves /track/."""
    service_keys: str
    """JWKS (JSON) of the identities that may send service tokens."""
    listen_host: str = "127.0.0.1"
    cors_origins: Sequence[str] = ()
    """Origins whose pages may call the API, such as https://app.example.com; /track/ is open to every origin."""
    xff_num_trusted_hops: int = 0
    """Number of proxies in front of the gateway whose X-Forwarded-For is trusted."""
    timeout_ms: int = 15_000
    """Deadline of a request to a service."""
    keys_cache_s: int = 10
    """How long auth-service's keys are cached; auth-service publishes a new key earlier than it signs with it."""
    descriptor_path: str = field(default_factory=lambda: str(files("adplatform") / "gateway.pb"))
    """Path of the contract's descriptor set, valid for this program and for Envoy."""

    def __post_init__(self) -> None:
        if not Path(self.descriptor_path).is_file():
            raise ValueError(f"descriptor_path: there is no file {self.descriptor_path}")
        if self.timeout_ms < 1000:
            raise ValueError("timeout_ms: at least 1000, so that a service can answer before the gateway gives up")
        if not self.pixel_http:
            raise ValueError("pixel_http: give at least one host and port")
