"""No crash of payment-service, PostgreSQL or Stripe, however timed, creates, loses or doubles money."""

from pathlib import Path

from .chaos_money import chaos
from .conftest import processes_of


def test_every_payment_that_stripe_says_succeeded_is_credited_once_whatever_is_killed(tmp_path: Path) -> None:
    """The short version of `make chaos-money`: each is killed at least once, while six clients pay."""
    try:
        figures, wrong = chaos(tmp_path, seconds=5, seed=4)
    finally:
        left = processes_of(tmp_path / "home")
        for process in left:
            process.kill()
    assert wrong == []
    assert left == []
    assert figures["credited"] > 10
