import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adctl.__main__ import app
from adctl.errors import UserError
from adctl.keys import Keys
from adctl.state import prepare
from adctl.token_keys import TokenKey, TokenKeys

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.fixture
def keys(tmp_path: Path) -> TokenKeys:
    made = TokenKeys(tmp_path / "tokens")
    made.make(older=tmp_path / "token.pem")
    return made


def add(keys: TokenKeys, age: timedelta) -> Path:
    path = keys.folder / f"{datetime.now(UTC) - age:%Y%m%dT%H%M%SZ}.pem"
    path.write_text("a key")
    return path


def test_first_key_signs_at_once_and_is_retained(keys: TokenKeys, tmp_path: Path) -> None:
    (first,) = keys.all()
    assert first.state(datetime.now(UTC)) == "signs"
    text = first.path.read_text()
    keys.make(older=tmp_path / "token.pem")
    assert [key.path for key in keys.all()] == [first.path]
    assert first.path.read_text() == text


def test_only_key_of_an_earlier_state_becomes_the_first(tmp_path: Path) -> None:
    older = tmp_path / "token.pem"
    older.write_text("the key of before")
    keys = TokenKeys(tmp_path / "tokens")
    keys.make(older)
    (first,) = keys.all()
    assert first.path.read_text() == "the key of before"
    assert not older.exists()


def test_new_key_signs_from_the_requested_time(keys: TokenKeys) -> None:
    before = datetime.now(UTC)
    begins = keys.rotate(30)
    old, new = keys.all()
    assert before + timedelta(seconds=29) <= begins <= before + timedelta(seconds=32)
    assert (new.begins, new.ends, old.ends) == (begins, None, begins)
    assert new.path.stat().st_mode & 0o777 == 0o600
    assert old.path.read_text() != new.path.read_text()
    assert sorted(os.listdir(keys.folder)) == [old.path.name, new.path.name]


def test_key_is_never_overwritten(keys: TokenKeys) -> None:
    for seconds in range(600, 603):  # the clock may go on by a second in between
        add(keys, timedelta(seconds=-seconds))
    with pytest.raises(UserError, match="exists already"):
        keys.rotate(601)


def test_keys_without_valid_links_are_deleted(keys: TokenKeys) -> None:
    gone, kept = add(keys, 30 * DAY), add(keys, 9 * DAY)
    add(keys, 7 * DAY)
    keys.rotate(30)
    assert not gone.exists()
    assert keys.all()[0].path == kept
    assert len(keys.all()) == 4


def test_key_state_names_its_present_use() -> None:
    now = datetime(2026, 1, 10, 12, tzinfo=UTC)

    def state(begins: timedelta, ends: timedelta | None = None) -> str:
        return TokenKey(Path(), now + begins, None if ends is None else now + ends).state(now)

    assert state(MINUTE) == "begins to sign in 60 s"
    assert state(-DAY) == state(-DAY, MINUTE) == "signs"
    assert state(-DAY, -MINUTE) == "its tokens are accepted until 12:29:00"
    assert state(-DAY, -31 * MINUTE) == "its links are accepted until 2026-01-18"


def test_file_whose_name_is_not_a_time_is_refused(keys: TokenKeys) -> None:
    (keys.folder / "mine.pem").write_text("a key")
    with pytest.raises(UserError, match=r"mine\.pem is not named by a time"):
        keys.all()


def test_keys_command_rotates_and_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADPLATFORM_HOME", str(tmp_path))
    state = prepare(tmp_path, 8080)
    runner = CliRunner()
    assert "may refuse" not in runner.invoke(app, ["keys", "rotate"]).output
    assert "may refuse" in runner.invoke(app, ["keys", "rotate", "--in", "3"]).output
    first, soon, later = runner.invoke(app, ["keys", "list"]).output.splitlines()
    assert first.endswith("  signs")
    assert "begins to sign in" in soon
    assert "begins to sign in" in later
    names = [line.split()[0] for line in (first, soon, later)]
    assert names == [key.path.name for key in Keys(state.paths.keys).tokens.all()]
    assert runner.invoke(app, ["keys", "rotate", "--in", "-1"]).exit_code == 2
    assert "PRIVATE" not in json.dumps(state.document())
