"""A receipt as HTML: a page for browsers, and its content alone for other forms of it."""

from datetime import datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from payment_service.receipts.model import Receipt, money


def render(receipt: Receipt) -> str:
    """A whole page that needs nothing else."""
    return _templates().get_template("page.html").render(receipt=receipt)


def content(receipt: Receipt) -> str:
    """What stands on the page."""
    return _templates().get_template("receipt.html").render(receipt=receipt)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("payment_service.receipts"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(money=money, time=_time)
    return environment


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
