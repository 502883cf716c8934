"""Deposit addresses: validation, checksums, and derivation from an extended public key.

Deriving from a public key (BIP-32) means that the server has no private key to steal.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason
from bip_utils import Base58ChecksumError, Bip32KeyError, Bip32Slip10Secp256k1, EthAddrEncoder
from bip_utils.utils.crypto import Kekkak256

from adlib.errors import InvalidArgument

ZERO_ADDRESS = "0x" + "0" * 40
_ACCOUNT_DEPTH = 3
_EVM_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_BASE58 = "[1-9A-HJ-NP-Za-km-z]"
# Common mistakes. Solana is last, since other kinds match its pattern too.
_OTHER_KINDS = {
    "a Bitcoin address": re.compile(rf"(bc1|tb1)[0-9a-z]{{11,87}}|[13]{_BASE58}{{25,34}}", re.ASCII),
    "a Litecoin address": re.compile(rf"ltc1[0-9a-z]{{11,87}}|[LM]{_BASE58}{{26,33}}", re.ASCII),
    "a Tron address": re.compile(rf"T{_BASE58}{{33}}", re.ASCII),
    "an XRP address": re.compile(rf"r{_BASE58}{{24,34}}", re.ASCII),
    "a Solana address": re.compile(rf"{_BASE58}{{32,44}}", re.ASCII),
    "a name, not an address": re.compile(r"[\w-]+(\.[\w-]+)*\.eth"),
    "a transaction hash or a private key": re.compile(r"(0x)?[0-9a-fA-F]{64}"),
}


class AddressInvalid(InvalidArgument):
    """Not an address of an EVM chain, or one that money must not be sent to."""

    reason = ErrorReason.ADDRESS_INVALID

    def __init__(self, why: str) -> None:
        super().__init__(f"refundAddress {why}")


class AddressChecksumInvalid(InvalidArgument):
    """A letter of the address has the wrong case, so one of its characters may be wrong."""

    reason = ErrorReason.ADDRESS_CHECKSUM_INVALID

    def __init__(self) -> None:
        super().__init__(
            "refundAddress has a wrong checksum (EIP-55), so a character of it may be wrong; copy it again"
        )


@dataclass(frozen=True, slots=True)
class Address:
    """A payment's deposit address, in lower case, and the terms that the customer was shown.

    `made_number`: the last block read when it was created. `searched_number`: the last block that an unfinished search
    for missed transfers has read.
    """

    payment_id: UUID
    organization_id: UUID
    number: int
    address: str
    chain_id: int
    coin: str
    currency_code: str
    rate: Decimal
    expires_at: datetime
    created_at: datetime
    made_number: int | None = None
    searched_number: int | None = None


class Addresses:
    """The addresses m/0/0, m/0/1, … below an account's extended public key, as wallets derive them (BIP-44).

    ValueError unless `xpub` is an account's extended public key.
    """

    def __init__(self, xpub: str) -> None:
        if xpub[1:4] == "prv":
            raise ValueError(
                "is an extended PRIVATE key: anyone who reads it can take all deposits. Move them to new "
                "keys, and configure the extended public key of the account (xpub…)"
            )
        try:
            account = Bip32Slip10Secp256k1.FromExtendedKey(xpub)
        except (Base58ChecksumError, Bip32KeyError, ValueError) as error:
            raise ValueError("is not an extended public key (BIP-32, xpub…)") from error
        if account.Depth().ToInt() != _ACCOUNT_DEPTH:
            raise ValueError("is not the key of an account: it must be m/44'/60'/n' (BIP-44)")
        self._deposits = account.ChildKey(0)

    def at(self, number: int) -> str:
        """The address with the number, with its checksum (EIP-55)."""
        key = self._deposits.ChildKey(number).PublicKey().RawCompressed().ToBytes()
        return str(EthAddrEncoder.EncodeKey(key))


def check_format(text: str) -> None:
    """ADDRESS_INVALID, which names common mistakes, unless the text is an EVM address other than the zero address."""
    if _EVM_ADDRESS.fullmatch(text):
        if text.lower() == ZERO_ADDRESS:
            raise AddressInvalid("is the zero address; what is sent there is lost")
        return
    if kind := next((kind for kind, pattern in _OTHER_KINDS.items() if pattern.fullmatch(text)), None):
        raise AddressInvalid(f"looks like {kind}; an address on this chain is 0x and 40 hexadecimal digits")
    raise AddressInvalid("must be 0x and 40 hexadecimal digits")


def with_checksum(address: str) -> str:
    """An address of 40 hexadecimal digits, with its checksum (EIP-55)."""
    digits = address[2:].lower()
    hashed = Kekkak256.QuickDigest(digits.encode()).hex()
    return "0x" + "".join(a.upper() if int(h, 16) > 7 else a for a, h in zip(digits, hashed, strict=False))


def checked(text: str) -> str:
    """The address with its checksum. An address in one case has no checksum to verify.

    ADDRESS_INVALID, ADDRESS_CHECKSUM_INVALID.
    """
    check_format(text)
    found = with_checksum(text)
    if text[2:] not in (found[2:], text[2:].lower(), text[2:].upper()):
        raise AddressChecksumInvalid
    return found
