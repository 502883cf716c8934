"""Crashes of payment-service, PostgreSQL or Stripe never create, lose or double money."""

from pathlib import Path

from .chaos_money import chaos
from .conftest import processes_of


def test_succeeded_payments_are_credited_once_despite_crashes(tmp_path: Path) -> None:
    """Five seconds of `make chaos-money`: each target is killed at least once while six customers pay."""
    try:
        figures, wrong = chaos(tmp_path, seconds=5, seed=4)
    finally:
        left = processes_of(tmp_path / "home")
        for process in left:
            process.kill()
    assert wrong == []
    assert left == []
    assert figures["credited"] > 10
