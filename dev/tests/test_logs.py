from pathlib import Path

from adctl.logs import follow, open_log, tail


def test_the_tail_is_the_last_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_text("".join(f"line {number}\n" for number in range(50_000)))
    assert tail(file, 2) == ["line 49998", "line 49999"]
    assert tail(file, 0) == []
    assert tail(tmp_path / "none.log", 5) == []


def test_a_large_log_makes_place_for_a_new_one(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    with file.open("wb") as log:
        log.truncate(11 * 1024 * 1024)
    with open_log(file) as log:
        log.write(b"new\n")
    assert file.read_text() == "new\n"
    assert (tmp_path / "a.log.1").stat().st_size == 11 * 1024 * 1024


def test_following_gives_whole_lines_of_all_files_even_after_rotation(tmp_path: Path) -> None:
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    one.write_text("old\n")
    lines = follow({"one": one, "two": two})

    two.write_text("second\nhal")
    assert next(lines) == ("two", "second")
    with two.open("a") as file:
        file.write("f\n")
    assert next(lines) == ("two", "half")
    one.write_text("a\n")
    assert next(lines) == ("one", "a")
