"""The chain of the platform here: its commands `adctl sandbox chain`, and what payment-service is told of it."""

import json
import secrets
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from adctl.state import State, write_privately
from adsandbox.chain_coins import CHAIN_ID, CHAIN_NAME, COINS, NATIVE, TOKENS

CONFIRMATIONS = 3
MOST_BLOCKS = 2_000
_POLL_S = 1
# An outage is to be seen while somebody waits for it.
_STALE_AFTER_S = 15
_RATES = {"ETH": {"USD": "2500", "EUR": "2300"}}

# Method, path and body of a control request; its answer.
Ask = Callable[..., dict[str, Any]]
# A payment's instructions.
Find = Callable[[UUID], Mapping[str, Any]]

console = Console()


def chains(state: State) -> str:
    """The chain as payment-service wants it, in JSON; FAKE is no money."""
    tokens = [
        {"symbol": coin.symbol, "contract": coin.contract, "decimals": coin.decimals}
        for coin in TOKENS
        if coin.symbol != "FAKE"
    ]
    native = {"symbol": NATIVE.symbol, "decimals": NATIVE.decimals, "rates": _RATES[NATIVE.symbol]}
    chain = {
        "chain_id": CHAIN_ID, "name": CHAIN_NAME, "rpc_url": state.url("chain-sandbox"), "poll_s": _POLL_S,
        "confirmations": CONFIRMATIONS, "start_block": 0, "tokens": tokens, "native": native,
        # The chain rests while nothing is sent, so the age of its newest block says nothing.
        "stale_after_s": _STALE_AFTER_S, "head_age_s": 0,
    }  # fmt: skip
    return json.dumps([chain])


def make_xpub(seed: Path, xpub: Path) -> None:
    """Make what deposit addresses are derived from, once; the seed is nobody's but the owner's of the folder."""
    if xpub.exists():
        return
    from bip_utils import Bip44, Bip44Coins  # only at the first start: it takes a while

    if not seed.exists():
        write_privately(seed, secrets.token_hex(32))
    account = Bip44.FromSeed(bytes.fromhex(seed.read_text()), Bip44Coins.ETHEREUM).Purpose().Coin().Account(0)
    write_privately(xpub, str(account.PublicKey().ToExtended()))


def commands(ask: Ask, find: Find) -> typer.Typer:
    """The commands; `ask` asks the sandbox, and raises for people what it refuses."""
    app = typer.Typer(help="A customer's wallet on the EVM chain here, and the chain's fate.", no_args_is_help=True)

    @app.command()
    def pay(
        to: Annotated[str, typer.Argument(help="The id that POST /payments/create answered, or an address (0x…).")],
        amount: Annotated[str, typer.Argument(help="Coins, such as 12.5; for a payment all it asks for.")] = "",
        coin: Annotated[str, typer.Option(help=f"One of {', '.join(COINS)}; for a payment the chosen one.")] = "",
    ) -> None:
        """Let the customer send coins; they are in the next block."""
        body = _transfer(to, amount, coin, find)
        sent = ask("POST", "/sandbox/chain/pay", body)
        coins = Decimal(sent["smallest"]).scaleb(-COINS[sent["coin"]].decimals).normalize()
        console.print(f"{coins:f} {sent['coin']} sent to {body['to']} with", highlight=False)
        print(sent["transaction_hash"])

    @app.command()
    def mine(
        blocks: Annotated[int, typer.Argument(min=1, max=MOST_BLOCKS, help="How many.")] = 1,
    ) -> None:
        """Let blocks come at once; while somebody waits for them they come by themselves."""
        console.print(f"block {ask('POST', '/sandbox/chain/mine', {'blocks': blocks})['head']}", highlight=False)

    @app.command()
    def reorg(
        depth: Annotated[int, typer.Argument(min=1, help="How many of the last blocks are replaced by others.")],
        drop: Annotated[bool, typer.Option("--drop", help="What was sent in them was never sent.")] = False,
    ) -> None:
        """Let the chain change its mind; what was sent is in other blocks then."""
        done = ask("POST", "/sandbox/chain/reorg", {"depth": depth, "keep_transactions": not drop})
        console.print(f"{len(done['orphaned'])} blocks replaced; block {done['head']}", highlight=False)

    return app


def _transfer(to: str, amount: str, coin: str, find: Find) -> dict[str, Any]:
    if to.startswith("0x"):
        if not amount:
            raise typer.BadParameter("an address alone does not say how much; give an amount")
        return {"to": to, "coin": coin or TOKENS[0].symbol, "amount": amount}
    try:
        payment_id = UUID(to)
    except ValueError:
        raise typer.BadParameter(f"{to} is neither a payment's id nor an address") from None
    told = find(payment_id)
    asked: dict[str, Any] = {"amount": amount} if amount else {"smallest": told["amount"]}
    if coin and coin != told["token"] and not amount:
        raise typer.BadParameter(f"{told['token']} was chosen; say how much of {coin}")
    return {"to": told["address"], "coin": coin or told["token"], **asked}
