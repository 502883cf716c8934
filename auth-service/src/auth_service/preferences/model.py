"""A person's preferences."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preferences:
    """How a person likes the platform to look and to tell them things; as it is where they have not said.

    `dashboard_layout` is JSON as the dashboard keeps it, empty where there is none.
    """

    theme: str = "SYSTEM"
    language: str = "en"
    notifications: bool = True
    dashboard_layout: str = ""
