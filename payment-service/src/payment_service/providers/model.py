"""Provider outages, and the errors that providers raise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition, InvalidArgument, Unavailable


class ProviderNotAvailable(InvalidArgument):
    """The provider is not configured on this platform."""

    reason = ErrorReason.PROVIDER_NOT_AVAILABLE

    def __init__(self, provider: str, known: str) -> None:
        super().__init__(f"provider {provider} cannot be paid with here; use {known or 'none'}", provider=provider)


@dataclass(frozen=True, slots=True)
class Outage:
    """Why a provider cannot settle payments now, as a sentence without a full stop.

    Payments are still opened during an outage that is not lasting. `metadata` says which part is affected.
    """

    because: str
    is_lasting: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)


class ProviderUnavailable(Unavailable):
    """The provider has a known outage."""

    reason = ErrorReason.PROVIDER_UNAVAILABLE
    retry_after_s = 30.0

    def __init__(self, provider: str, outage: Outage) -> None:
        super().__init__(
            f"{provider} cannot be paid with now: {outage.because}; try again later or use another provider",
            provider=provider,
            reason=outage.because,
            **outage.metadata,
        )
        self.because = outage.because


class ProviderRejected(FailedPrecondition):
    """The provider rejected the request, with the message `provider_message`."""

    reason = ErrorReason.PROVIDER_REJECTED

    def __init__(self, message: str) -> None:
        super().__init__(f"the payment provider refused: {message}")
        self.provider_message = message


class RefundNotSeen(FailedPrecondition):
    """A refund sent by hand was not found at the provider, or differs; the message says what was expected."""

    reason = ErrorReason.REFUND_NOT_SEEN


class SignatureInvalid(InvalidArgument):
    """The webhook's signature is missing, forged or stale."""

    reason = ErrorReason.SIGNATURE_INVALID

    def __init__(self, header: str) -> None:
        super().__init__(f"the {header} header does not sign this body with the agreed key, or is too old")
