import os
import subprocess
import sys
from pathlib import Path

from adctl.supervision.logs import LogCollector, RotatingFile, error_line, follow, open_log, rotated, tail

LIMIT = 200 * 1024
FULL = Path("/dev/full")


def write_lines(collector: LogCollector, count: int) -> None:
    """Run a process that prints so many numbered lines."""
    with collector.open("a") as log:
        program = f"for number in range({count}): print('line', number)"
        process = subprocess.Popen([sys.executable, "-S", "-c", program], stdout=log)
    assert process.wait(30) == 0
    collector.drain("a")


def numbers(*paths: Path) -> list[int]:
    return [int(line.split()[1]) for path in paths for line in path.read_text().splitlines()]


def test_tail_returns_the_last_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_text("".join(f"line {number}\n" for number in range(50_000)))
    assert tail(file, 2) == ["line 49998", "line 49999"]
    assert tail(file, 0) == []
    assert tail(tmp_path / "none.log", 5) == []


def test_log_above_the_limit_rotates_when_it_is_opened(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    with file.open("wb") as log:
        log.truncate(11 * 1024 * 1024)
    with open_log(file) as log:
        log.write(b"new\n")
    assert file.read_text() == "new\n"
    assert rotated(file).stat().st_size == 11 * 1024 * 1024


def test_logs_of_a_running_process_stay_bounded_without_losing_a_line(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    collector = LogCollector(lambda name: tmp_path / f"{name}.log", max_bytes=LIMIT)
    write_lines(collector, 50_000)
    collector.close()
    assert sorted(os.listdir(tmp_path)) == ["a.log", "a.log.1"]
    assert all(path.stat().st_size <= LIMIT for path in (file, rotated(file)))
    retained = numbers(rotated(file), file)
    assert retained == list(range(retained[0], 50_000))
    assert rotated(file).stat().st_size > LIMIT - 100


def test_restarted_process_appends_to_its_log(tmp_path: Path) -> None:
    collector = LogCollector(lambda name: tmp_path / f"{name}.log")
    write_lines(collector, 2)
    write_lines(collector, 2)
    collector.close()
    assert numbers(tmp_path / "a.log") == [0, 1, 0, 1]


def test_rotation_never_splits_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    file = RotatingFile(path, max_bytes=10)
    for part in (b"one\nlong", b" line\n", b"three\n"):
        file.write(part)
    file.close()
    assert rotated(path).read_text() == "one\nlong line\n"
    assert path.read_text() == "three\n"


def test_output_that_a_full_disk_refuses_is_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.symlink_to(FULL)
    file = RotatingFile(path)
    file.write(b"lost\n")
    file.close()
    path.unlink()
    file.write(b"stored\n")
    file.close()
    assert path.read_text() == "[5 bytes were lost here: the disk was full]\nstored\n"


def test_log_that_is_standard_output_rotates_in_place(tmp_path: Path) -> None:
    path = tmp_path / "adctl.log"
    program = (
        "import sys; from pathlib import Path; from adctl.supervision.logs import rotate_standard_output\n"
        "for number in range(4): print('line', number, flush=True); rotate_standard_output(Path(sys.argv[1]), 10)"
    )
    with path.open("ab") as log:
        subprocess.run([sys.executable, "-c", program, str(path)], stdout=log, stderr=log, check=True)
    assert numbers(rotated(path), path) == [2, 3]


def test_follow_yields_whole_lines_of_all_files(tmp_path: Path) -> None:
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    one.write_text("old\n")
    lines = follow({"one": one, "two": two})

    two.write_text("second\nhal")
    assert next(lines) == ("two", "second")
    with two.open("a") as file:
        file.write("f\n")
    assert next(lines) == ("two", "half")
    one.write_text("a\n")  # as by hand, in place
    assert next(lines) == ("one", "a")


def test_follow_loses_no_line_at_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    file = RotatingFile(path, max_bytes=20)
    file.write(b"old\n")
    lines = follow({"a": path})
    for number in range(5):
        file.write(f"line {number}\n".encode())
    assert [next(lines)[1] for _ in range(2)] == ["line 0", "line 1"]
    assert [next(lines)[1] for _ in range(3)] == ["line 2", "line 3", "line 4"]


def test_error_line_is_the_exception_of_the_last_traceback() -> None:
    failed = ["Traceback (most recent call last):", '  File "a.py", line 1, in <module>', "KeyError: 'A'", ""]
    again = ["During handling …", "Traceback (most recent call last):", "  raise", "SystemExit: A is missing", "bye"]
    assert error_line(["started", *failed, *again]) == "SystemExit: A is missing"
    assert error_line(["started", "A is missing", ""]) == "A is missing"
    assert error_line([]) == "it printed nothing"
