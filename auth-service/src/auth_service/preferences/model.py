"""Preferences of users."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preferences:
    """A user's preferences, with the defaults for those who have set none.

    `dashboard_layout` is JSON of the dashboard's own format, empty if there is none.
    """

    theme: str = "SYSTEM"
    language: str = "en"
    notifications: bool = True
    dashboard_layout: str = ""
