"""Deposit addresses from an extended public key (BIP-32): the server has no private key that could be taken."""

from bip_utils import Base58ChecksumError, Bip32KeyError, Bip32Slip10Secp256k1, EthAddrEncoder
from bip_utils.utils.crypto import Kekkak256

from adlib.config import ConfigurationError
from payment_service.providers.crypto.model import AddressChecksumInvalid, looks_like_an_address

_ACCOUNT_DEPTH = 3


class Addresses:
    """The addresses m/0/0, m/0/1, … below an account's extended public key, as wallets derive them (BIP-44)."""

    def __init__(self, xpub: str) -> None:
        if xpub[1:4] == "prv":
            raise ConfigurationError(
                "CRYPTO_XPUB is an extended PRIVATE key: whoever reads it can take all deposits. Move them to new "
                "keys, and give the extended public key of the account (xpub…)"
            )
        try:
            account = Bip32Slip10Secp256k1.FromExtendedKey(xpub)
        except (Base58ChecksumError, Bip32KeyError, ValueError) as error:
            raise ConfigurationError("CRYPTO_XPUB is no extended public key (BIP-32, xpub…)") from error
        if account.Depth().ToInt() != _ACCOUNT_DEPTH:
            raise ConfigurationError("CRYPTO_XPUB is not the key of an account: it must be m/44'/60'/n' (BIP-44)")
        self._deposits = account.ChildKey(0)

    def at(self, number: int) -> str:
        """The address of that number, with its checksum (EIP-55)."""
        key = self._deposits.ChildKey(number).PublicKey().RawCompressed().ToBytes()
        return str(EthAddrEncoder.EncodeKey(key))


def with_checksum(address: str) -> str:
    """An address of 40 hexadecimal digits, with its checksum (EIP-55)."""
    digits = address[2:].lower()
    hashed = Kekkak256.QuickDigest(digits.encode()).hex()
    return "0x" + "".join(a.upper() if int(h, 16) > 7 else a for a, h in zip(digits, hashed, strict=False))


def checked(text: str) -> str:
    """The address with its checksum; in letters of one case it has none that could be wrong.

    ADDRESS_INVALID, ADDRESS_CHECKSUM_INVALID.
    """
    looks_like_an_address(text)
    found = with_checksum(text)
    if text[2:] not in (found[2:], text[2:].lower(), text[2:].upper()):
        raise AddressChecksumInvalid
    return found
