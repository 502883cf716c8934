"""The sandbox's EVM chain as payment-service is configured for it."""

import json
import secrets
from pathlib import Path

from adctl.state import State, write_privately
from adsandbox.chain.coins import CHAIN_ID, CHAIN_NAME, NATIVE, TOKENS

_CONFIRMATIONS = 3
_POLL_S = 1
# Short, so that a person who tries an outage sees it.
_STALE_AFTER_S = 15
_RATES = {"ETH": {"USD": "2500", "EUR": "2300"}}
_WORTHLESS = "FAKE"


def chains(state: State) -> str:
    """Return CRYPTO_CHAINS, as JSON: the chain with all its tokens but the worthless FAKE."""
    tokens = [
        {"symbol": coin.symbol, "contract": coin.contract, "decimals": coin.decimals}
        for coin in TOKENS
        if coin.symbol != _WORTHLESS
    ]
    native = {"symbol": NATIVE.symbol, "decimals": NATIVE.decimals, "rates": _RATES[NATIVE.symbol]}
    chain = {
        "chain_id": CHAIN_ID, "name": CHAIN_NAME, "rpc_url": state.url("chain-sandbox"), "poll_s": _POLL_S,
        "confirmations": _CONFIRMATIONS, "start_block": 0, "tokens": tokens, "native": native,
        # No blocks are mined while no transaction is sent, so the age of the newest block is not checked.
        "stale_after_s": _STALE_AFTER_S, "head_age_s": 0,
    }  # fmt: skip
    return json.dumps([chain])


def make_xpub(seed: Path, xpub: Path) -> None:
    """Create the extended public key that deposit addresses are derived from, and its seed, unless they exist."""
    if xpub.exists():
        return
    from bip_utils import Bip44, Bip44Coins  # here: the import takes 0.5 s, and only the first start needs it

    if not seed.exists():
        write_privately(seed, secrets.token_hex(32))
    account = Bip44.FromSeed(bytes.fromhex(seed.read_text()), Bip44Coins.ETHEREUM).Purpose().Coin().Account(0)
    write_privately(xpub, str(account.PublicKey().ToExtended()))
