"""Failures that a person can act on."""


class UserError(Exception):
    """The text names the failure and a remedy; the command prints it and ends with exit code 1."""
