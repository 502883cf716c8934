"""Ad networks, one folder each.

A folder's `settings.py` has `CODE`, the network's name in the contract, and `read`, which returns its settings or None
where the platform is not configured for it. Adding a network takes a folder here and a value in the contract's enum.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from pkgutil import iter_modules

from adlib.config import Environment
from campaign_service.networks.protocol import NetworkSettings

ReadSettings = Callable[[Environment], NetworkSettings | None]


def _discover() -> Mapping[str, ReadSettings]:
    folders = sorted(module.name for module in iter_modules(__path__) if module.ispkg)
    found = [import_module(f"{__name__}.{folder}.settings") for folder in folders]
    return {settings.CODE: settings.read for settings in found}


# How to read each network's settings, by its name in the contract.
KNOWN: Mapping[str, ReadSettings] = _discover()


def read(environment: Environment) -> Mapping[str, NetworkSettings]:
    """The settings of the networks that this platform is configured for; ConfigurationError naming a missing key."""
    found = {code: read_one(environment) for code, read_one in KNOWN.items()}
    return {code: settings for code, settings in found.items() if settings}
