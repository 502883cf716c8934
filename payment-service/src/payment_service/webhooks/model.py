"""What a webhook can be refused for."""

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import InvalidArgument


class SignatureInvalid(InvalidArgument):
    """Missing, forged or stale."""

    reason = ErrorReason.SIGNATURE_INVALID

    def __init__(self, header: str) -> None:
        super().__init__(f"the {header} header does not sign this body with the agreed key, or is too old")
