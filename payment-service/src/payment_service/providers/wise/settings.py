"""The settings of the profile at Wise, and the provider built from them."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from adlib.clock import Clock
from adlib.config import ConfigurationError, Environment
from adlib.db import Database
from adlib.errors import InvalidArgument
from adlib.money import currency
from payment_service.providers.protocol import Provider, ProviderKind
from payment_service.providers.wise.client import WiseClient
from payment_service.providers.wise.deposits import WiseDeposits
from payment_service.providers.wise.model import NAME
from payment_service.providers.wise.payouts import WisePayouts
from payment_service.providers.wise.refunds import WiseRefunds
from payment_service.providers.wise.webhooks import PayoutWebhooks, StatementUpdates, TransferUpdates, WiseWebhooks

# The wallet currencies that Wise provides bank accounts for.
_DEFAULT_CURRENCIES = "EUR,GBP,USD"


@dataclass(frozen=True, slots=True)
class WiseSettings:
    """The profile at Wise; `currencies` are those that it has bank accounts in."""

    url: str
    token: str
    profile_id: int
    webhook_key: RSAPublicKey
    currencies: tuple[str, ...] = tuple(_DEFAULT_CURRENCIES.split(","))

    def provider(self, db: Database, clock: Clock, *, takes_payments: bool = True) -> Provider:
        """Connects to the profile; without `takes_payments`, for payouts alone."""
        # Two clients, so that failing payouts do not count as an outage of deposits.
        client, payout_client = self._client(clock), self._client(clock)
        deposits = WiseDeposits(client, self.currencies, db, clock)
        refunds = WiseRefunds(client, db, clock)
        transfers = TransferUpdates(client, refunds, db, clock)
        statement = StatementUpdates(client, self.currencies, deposits, transfers, clock)
        webhooks = WiseWebhooks(self.profile_id, self.webhook_key, transfers, statement)
        return Provider(
            name=NAME,
            payments=deposits if takes_payments else None,
            refunds=refunds if takes_payments else None,
            payouts=WisePayouts(payout_client, clock),
            webhooks=webhooks if takes_payments else PayoutWebhooks(webhooks),
            missed_events=statement if takes_payments else None,
            closing=(client.close, payout_client.close),
        )

    def _client(self, clock: Clock) -> WiseClient:
        return WiseClient(self.url, self.token, self.profile_id, clock)


def read(environment: Environment) -> WiseSettings:
    """Reads the settings; ConfigurationError naming the variable that is missing or wrong."""
    return WiseSettings(
        url=environment.text("WISE_API_URL").rstrip("/"),
        token=environment.text("WISE_API_TOKEN"),
        profile_id=environment.integer("WISE_PROFILE_ID"),
        webhook_key=_public_key(environment.file("WISE_WEBHOOK_KEY_FILE")),
        currencies=_currencies(environment.text("WISE_CURRENCIES", _DEFAULT_CURRENCIES)),
    )


KIND = ProviderKind(NAME, "Bank transfer", read, is_default=True, sends_payouts=True)


def _public_key(pem: str) -> RSAPublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except ValueError:
        key = None
    if not isinstance(key, RSAPublicKey):
        raise ConfigurationError("WISE_WEBHOOK_KEY_FILE does not contain an RSA public key in PEM")
    return key


def _currencies(codes: str) -> tuple[str, ...]:
    try:
        return tuple(currency(code.strip()) for code in codes.split(","))
    except InvalidArgument as error:
        raise ConfigurationError(f"WISE_CURRENCIES: {error.message}") from error
