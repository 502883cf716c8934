"""The errors that check.py finds, in a copy of the contract with its own git history."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROTOS = Path(__file__).parents[1]
CAMPAIGN = Path("adplatform/campaign/v1/campaign.proto")


class Copy:
    """A git repository with a copy of the contract."""

    def __init__(self, root: Path) -> None:
        self.protos = root / "protos"
        shutil.copytree(PROTOS / "adplatform", self.protos / "adplatform")
        for name in ("buf.yaml", "check.py", "generate.py"):
            shutil.copy(PROTOS / name, self.protos)

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=self.protos, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "-m", "contract")
        return self.git("rev-parse", "HEAD")

    def replace(self, old: str, new: str) -> None:
        path = self.protos / CAMPAIGN
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))

    def check(self, base: str = "") -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "BREAKING_BASE": base}
        command = [sys.executable, "check.py"]
        return subprocess.run(
            command, cwd=self.protos, env=environment, check=False, capture_output=True, text=True, timeout=120
        )


MESSAGE = "\n// Only for the test.\nmessage Tried {\n  int64 first = 1;\n  int64 second = 2;\n}\n"


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    copy = Copy(tmp_path)
    with (copy.protos / CAMPAIGN).open("a") as file:
        file.write(MESSAGE)
    copy.git("init", "-b", "main", "..")
    copy.commit()
    return copy


def test_first_commit_has_no_previous_contract(copy: Copy) -> None:
    ran = copy.check()
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "no contract before this one" in ran.stdout


def test_contract_without_history_passes(copy: Copy) -> None:
    shutil.rmtree(copy.protos.parent / ".git")
    ran = copy.check()
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "no contract before this one" in ran.stdout


def test_added_field_is_not_breaking(copy: Copy) -> None:
    copy.replace("  int64 second = 2;\n", "  int64 second = 2;\n  int64 third = 3;\n")
    ran = copy.check()
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_removed_field_fails_before_it_is_committed(copy: Copy) -> None:
    copy.replace("  int64 second = 2;\n", "")
    ran = copy.check()
    assert ran.returncode == 1
    assert 'Previously present field "2" with name "second" on message "Tried" was deleted' in ran.stderr


def test_removed_field_fails_in_the_commit_that_removes_it(copy: Copy) -> None:
    copy.replace("  int64 second = 2;\n", "")
    copy.commit()
    assert copy.check().returncode == 1


def test_branch_is_compared_with_its_merge_base(copy: Copy) -> None:
    copy.git("checkout", "-b", "change")
    copy.replace("  int64 second = 2;\n", "")
    copy.commit()
    copy.replace("  int64 first = 1;\n", "  int64 first = 1;\n  int64 third = 3;\n")
    copy.commit()
    assert '"second"' in copy.check().stderr


def test_pipeline_sets_the_commit_to_compare_with(copy: Copy) -> None:
    before = copy.git("rev-parse", "HEAD")
    copy.replace("  int64 second = 2;\n", "")
    copy.commit()
    (copy.protos / "note").touch()
    copy.commit()
    assert copy.check("0" * 40).returncode == 0
    assert copy.check(before).returncode == 1
    assert "is not a commit of this repository" in copy.check("f" * 40).stderr


def test_unformatted_file_fails(copy: Copy) -> None:
    copy.replace("  int64 first = 1;\n", "    int64 first = 1;\n")
    ran = copy.check()
    assert ran.returncode == 1
    assert "+  int64 first = 1;" in ran.stderr


def test_undocumented_rpc_and_badly_named_field_fail(copy: Copy) -> None:
    copy.replace(
        "  // Returns a campaign.\n  // NOT_FOUND CAMPAIGN_NOT_FOUND.\n  rpc GetCampaign(", "  rpc GetCampaign("
    )
    copy.replace("  int64 second = 2;\n", "  int64 second = 2;\n  int64 Third = 3;\n")
    found = copy.check().stderr
    assert 'Field name "Third" should be lower_snake_case' in found
    assert 'RPC "GetCampaign" should have a non-empty comment' in found
