"""`adctl keys`."""

from typing import TYPE_CHECKING, Annotated

import typer

from adctl.commands.context import console, current_state

if TYPE_CHECKING:
    from adctl.keys import Keys

app = typer.Typer(help="The keys that sign access tokens.", no_args_is_help=True)


@app.command("rotate")
def rotate_keys(
    in_s: Annotated[
        int, typer.Option("--in", min=0, max=86_400, metavar="SECONDS", help="When the new key starts to sign.")
    ] = 30,
) -> None:
    """Create a new signing key. Nothing restarts, and tokens signed with the old key stay valid until they expire."""
    from adctl.token_keys import PROPAGATION_S

    signs_from = _keys().tokens.rotate(in_s)
    console.print(f"the new key begins to sign at {signs_from:%Y-%m-%d %H:%M:%S} UTC, in {in_s} s", highlight=False)
    if in_s < PROPAGATION_S:
        console.print(
            "the gateway may refuse its tokens for some seconds, until it has fetched the key", highlight=False
        )


@app.command("list")
def list_keys() -> None:
    """List the keys with their present use, oldest first (times in UTC)."""
    from datetime import UTC, datetime

    for key in _keys().tokens.all():
        console.print(f"{key.path.name}  {key.state(datetime.now(UTC))}", highlight=False)


def _keys() -> "Keys":
    from adctl.keys import Keys

    keys = Keys(current_state().paths.keys)
    keys.make()
    return keys
