"""Provider outages, and the errors that providers raise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition, InvalidArgument, Unavailable


class ProviderNotAvailable(InvalidArgument):
    """Not configured on this platform."""

    reason = ErrorReason.PROVIDER_NOT_AVAILABLE

    def __init__(self, provider: str, known: str) -> None:
        super().__init__(f"provider {provider} cannot be paid with here; use {known or 'none'}", provider=provider)


@dataclass(frozen=True, slots=True)
class Outage:
    """Why a provider cannot settle payments now, in a sentence without its full stop.

    Not `is_lasting`: it may be over in a moment, so payments are still opened. `metadata` says where it is.
    """

    because: str
    is_lasting: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)


class ProviderUnavailable(Unavailable):
    """The provider is known not to work."""

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
    """The provider refused; the message is the provider's own."""

    reason = ErrorReason.PROVIDER_REJECTED

    def __init__(self, message: str) -> None:
        super().__init__(f"the payment provider refused: {message}")
        self.said = message


class RefundNotSeen(FailedPrecondition):
    """What was sent by hand is not there, or not as it should be; the message says what was looked for."""

    reason = ErrorReason.REFUND_NOT_SEEN


class SignatureInvalid(InvalidArgument):
    """Missing, forged or stale."""

    reason = ErrorReason.SIGNATURE_INVALID

    def __init__(self, header: str) -> None:
        super().__init__(f"the {header} header does not sign this body with the agreed key, or is too old")
