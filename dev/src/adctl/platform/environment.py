"""The environment of the platform's processes."""

from collections.abc import Mapping

from adctl.keys import Keys
from adctl.platform import chain
from adctl.ports import LOOPBACK
from adctl.state import DATABASES, MAIL_FROM, SANDBOXES, State
from adsandbox.networks import BILLING_CURRENCIES

# The services that each service calls.
_CALLS = {
    "campaign-service": ("auth-service", "payment-service", "publisher-service"),
    "payment-service": ("auth-service",),
    "publisher-service": ("auth-service", "payment-service"),
    "analytics-service": ("auth-service", "campaign-service"),
    "pixel-service": ("auth-service", "campaign-service"),
    "auth-service": ("auth-service",),
}
# No addresses, secrets or proxies: those of the caller's environment are meant for another system.
_INHERITED = ("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_INHERITED_PREFIXES = ("LC_", "PYTHON", "COVERAGE_", "OTEL_", "SSL_CERT_")


def inherited(environment: Mapping[str, str], state: State) -> dict[str, str]:
    """Return the part of adctl's environment that every process gets, and a mark that identifies its platform."""
    passed = {k: v for k, v in environment.items() if k in _INHERITED or k.startswith(_INHERITED_PREFIXES)}
    return passed | {"ADPLATFORM_HOME": str(state.paths.home)}


def service_environment(state: State, keys: Keys, service: str) -> dict[str, str]:
    """Return the variables that configure a service."""
    environment = {
        "GRPC_PORTS": str(state.ports[service]),
        "BIND_HOST": LOOPBACK,
        "METRICS_PORT": str(state.ports[f"{service}-metrics"]),
        "REDIS_URL": state.redis_url(),
        "SERVICE_KEY_FILE": str(keys.of(service)),
        "SERVICE_KEYS_FILE": str(keys.jwks),
    }
    for called in _CALLS[service]:
        name = called.removesuffix("-service").upper()
        environment[f"{name}_TARGETS"] = f"{LOOPBACK}:{state.ports[called]}"
    if service in DATABASES:
        environment["DATABASE_URL"] = state.database_url(service)
    return environment | _own_environment(state, keys).get(service, {})


def _own_environment(state: State, keys: Keys) -> dict[str, dict[str, str]]:
    return {
        "auth-service": {
            "TOKEN_KEYS_DIR": str(keys.tokens.folder),
            "SMTP_URL": state.smtp_url(),
            "MAIL_FROM": MAIL_FROM,
            "APP_URL": state.gateway_url,
            "ADMIN_EMAIL": state.admin_email,
            "ADMIN_PASSWORD": state.admin_password,
        },
        "campaign-service": {
            "TRAFFIC_ENGINE_URL": state.url("traffic-engine-sandbox"),
            "TRAFFIC_ENGINE_TOKEN": state.secrets["trafficEngineToken"],
        },
        "payment-service": {
            "STRIPE_API_KEY": state.secrets["stripeApiKey"],
            "STRIPE_WEBHOOK_SECRET": state.stripe_webhook_secret,
            "STRIPE_API_BASE": state.url("stripe-sandbox"),
            "WISE_API_URL": state.url("wise-sandbox"),
            "WISE_API_TOKEN": state.secrets["wiseApiToken"],
            "WISE_PROFILE_ID": state.secrets["wiseProfileId"],
            "WISE_WEBHOOK_KEY_FILE": str(keys.wise_public),
            "RECEIPT_ISSUER": "Example Ad Platform Ltd|1 Example Street|EX1 0AD Example City|Tax number EX000000000",
            "PAYMENT_PROVIDERS": "STRIPE,CRYPTO,WISE",
            "WALLET_CURRENCIES": ",".join(sorted(set(BILLING_CURRENCIES.values()))),
            "CRYPTO_XPUB_FILE": str(keys.chain_xpub),
            "CRYPTO_CHAINS": chain.chains(state),
        },
        "analytics-service": {"WAREHOUSE_PATH": str(state.paths.data / "warehouse" / "warehouse.duckdb")},
        "pixel-service": {
            "HTTP_PORT": str(state.ports["pixel-service-http"]),
            "PUBLIC_URL": state.gateway_url,
            "CLICK_SIGNING_KEY": state.secrets["clickSigningKey"],
        },
    }


def sandbox_environment(state: State, keys: Keys) -> dict[str, str]:
    """Return the variables that configure the sandboxes."""
    return {
        **{f"{party.upper()}_SANDBOX_PORT": str(state.ports[name]) for party, name in SANDBOXES.items()},
        "MAIL_SANDBOX_SMTP_PORT": str(state.ports["mail-sandbox-smtp"]),
        "SANDBOX_STATE_DIR": str(state.paths.data / "sandbox"),
        "GATEWAY_URL": state.gateway_url,
        "STRIPE_API_KEY": state.secrets["stripeApiKey"],
        "STRIPE_WEBHOOK_SECRET": state.stripe_webhook_secret,
        "TRAFFIC_ENGINE_TOKEN": state.secrets["trafficEngineToken"],
        "WISE_API_TOKEN": state.secrets["wiseApiToken"],
        "WISE_PROFILE_ID": state.secrets["wiseProfileId"],
        "WISE_WEBHOOK_PRIVATE_KEY_FILE": str(keys.wise_private),
    }
