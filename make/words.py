"""Checks the tree's prose, names and commit subjects against the vocabulary in words.toml.

Prose is docstrings, comments, messages (strings of four words or more outside tests) and Markdown outside code. Each
finding is printed as `file:line: word → better`; the exit status is 1 when there is one.

Usage:
    python make/words.py                    every tracked file
    python make/words.py --clean            the files that words.toml lists as clean
    python make/words.py FOLDER_OR_FILE…    these alone
    python make/words.py --commit FILE      the subject in a commit message's file
    python make/words.py --commits RANGE    the subjects of a range of commits, as in main..HEAD
"""

import ast
import inspect
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SETTINGS = Path(__file__).with_suffix(".toml")

_MIN_MESSAGE_WORDS = 4
_HASH_COMMENTS = (".Dockerfile", ".in", ".mk", ".toml", ".yaml", ".yml")
_HASH_COMMENT_NAMES = ("Makefile", "Dockerfile", "CODEOWNERS", ".gitignore", ".dockerignore", "build-service", "run")
# The lint's own vocabulary is made of the words it forbids.
_UNCHECKED = ("make/words.toml", "docs/words.md")


@dataclass(frozen=True)
class Finding:
    """One word where it should not be."""

    path: str
    line: int
    word: str
    better: str

    def __str__(self) -> str:
        """The format that editors and CI recognize."""
        return f"{self.path}:{self.line}: {self.word} → {self.better}"


@dataclass(frozen=True)
class Text:
    """A piece of prose and the line it starts at."""

    line: int
    text: str
    has_sentence_limit: bool = False


@dataclass(frozen=True)
class Rules:
    """words.toml, with its expressions compiled."""

    clean: Sequence[str]
    max_sentence_words: int
    prose: Sequence[tuple[re.Pattern[str], str]]
    openings: Sequence[tuple[re.Pattern[str], str]]
    names: dict[str, str]
    modules: dict[str, str]
    name_parts: dict[str, str]
    areas: Sequence[str]
    max_subject: int
    exceptions: Sequence[tuple[str, str]] = field(default=())

    @classmethod
    def load(cls, settings: dict[str, Any]) -> "Rules":
        """Compiles the settings; an exception without a reason is refused."""
        exceptions = settings.get("exceptions", [])
        without_reason = [exception["path"] for exception in exceptions if not exception.get("reason")]
        if without_reason:
            raise SystemExit(f"exceptions in words.toml without a reason: {', '.join(without_reason)}")
        return cls(
            clean=settings["clean"],
            max_sentence_words=settings["max_sentence_words"],
            prose=[(re.compile(rf"\b(?:{text})\b", re.I), better) for text, better in settings["prose"].items()],
            openings=[(re.compile(rf"(?:{text})"), better) for text, better in settings["openings"].items()],
            names=settings["names"],
            modules=settings["modules"],
            name_parts=settings["name_parts"],
            areas=settings["commits"]["areas"],
            max_subject=settings["commits"]["max_subject"],
            exceptions=[(exception["path"], exception["word"].lower()) for exception in exceptions],
        )

    def allows(self, finding: Finding) -> bool:
        """Whether an exception covers this finding."""
        return any(
            (finding.path == path or finding.path.startswith(path + "/")) and word in finding.word.lower()
            for path, word in self.exceptions
        )


def sentences(text: Text) -> Iterator[tuple[int, str]]:
    """The sentences of a text with their lines; a blank line, a list item or an indented block ends one too."""
    pattern = r"(?:(?<=[.?!])|(?<=[.?!][)\"'`]))\s+|\n\s*\n|\n\s*(?:[-*•]|\d+\.)\s+|\n[ ]{4,}"
    position = 0
    for separator in [*re.finditer(pattern, text.text), None]:
        end = separator.start() if separator else len(text.text)
        sentence = text.text[position:end]
        stripped = sentence.lstrip()
        if stripped:
            start = position + len(sentence) - len(stripped)
            yield text.line + text.text.count("\n", 0, start), stripped.rstrip()
        position = separator.end() if separator else end


def check_text(path: str, text: Text, rules: Rules) -> Iterator[Finding]:
    """Forbidden words, openings and overlong sentences of one piece of prose."""
    for pattern, better in rules.prose:
        for match in pattern.finditer(text.text):
            line = text.line + text.text.count("\n", 0, match.start())
            yield Finding(path, line, " ".join(match.group().split()), better)
    for line, sentence in sentences(text):
        for pattern, better in rules.openings:
            if pattern.match(sentence):
                yield Finding(path, line, " ".join(sentence.split()[:3]) + " …", better)
        length = len(sentence.split())
        if text.has_sentence_limit and length > rules.max_sentence_words:
            yield Finding(path, line, f"a sentence of {length} words", f"at most {rules.max_sentence_words}")


def _without_code(line: str) -> str:
    return re.sub(r"`[^`]*`", "`…`", line)


def python_texts(source: str, tree: ast.Module, *, is_test: bool) -> Iterator[Text]:
    """Docstrings, comment blocks, and outside tests the strings that are messages."""
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                docstrings.add(first.value)
                yield Text(first.lineno, _without_code(inspect.cleandoc(first.value.value)), has_sentence_limit=True)
    if not is_test:
        yield from (
            Text(node.lineno, _without_code(str(node.value))) for node in messages(tree) if node not in docstrings
        )
    yield from comment_blocks(
        (token.start[0], token.string.lstrip("#").strip(), not token.line.lstrip().startswith("#"))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    )


def messages(tree: ast.Module) -> Iterator[ast.Constant]:
    """Strings of several words that are not SQL: what an error, a log line or a command's help says."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            has_words = len(node.value.split()) >= _MIN_MESSAGE_WORDS
            if has_words and not re.match(r"\s*(?:SELECT|WITH|INSERT|UPDATE|DELETE)\b", node.value):
                yield node


def comment_blocks(comments: Iterable[tuple[int, str, bool]]) -> Iterator[Text]:
    """Joins comments on successive lines to one text; a comment behind code stands alone."""
    start, lines = 0, list[str]()
    for line, text, is_behind_code in comments:
        if lines and (is_behind_code or line != start + len(lines)):
            yield Text(start, "\n".join(lines), has_sentence_limit=True)
            lines = []
        if not lines:
            start = line
        lines.append(_without_code(text))
        if is_behind_code:
            yield Text(start, lines.pop(), has_sentence_limit=True)
    if lines:
        yield Text(start, "\n".join(lines), has_sentence_limit=True)


def line_comment_texts(source: str, mark: str) -> Iterator[Text]:
    """Comment blocks of a language whose comments run from a mark to the line's end."""
    comments = []
    for number, line in enumerate(source.splitlines(), 1):
        found = re.search(rf"(?:^|\s){re.escape(mark)}+ (.*)", line)
        if found:
            comments.append((number, found[1].strip(), not line.lstrip().startswith(mark)))
    return comment_blocks(comments)


def markdown_texts(source: str) -> Iterator[Text]:
    """Paragraphs, list items and table rows, without code."""
    in_code, start, lines = False, 0, list[str]()
    for number, line in enumerate([*source.splitlines(), ""], 1):
        is_fence = line.lstrip().startswith("```")
        if (is_fence or in_code or not line.strip() or line.startswith("|")) and lines:
            yield Text(start, "\n".join(lines))
            lines = []
        if is_fence:
            in_code = not in_code
        elif not in_code and line.strip():
            if line.startswith("|"):
                yield Text(number, " \n".join([_without_code(line)]))
                continue
            if not lines:
                start = number
            lines.append(_without_code(line).lstrip("#> "))


def defined_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every name that a module defines: classes, functions, parameters, variables and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr


def check_names(path: str, tree: ast.Module, rules: Rules) -> Iterator[Finding]:
    """Names of the glossary's first column, and names with a forbidden part."""
    stem = Path(path).stem
    if stem in rules.modules:
        yield Finding(path, 1, f"{stem}.py", rules.modules[stem])
    for line, name in [(1, stem), *defined_names(tree)]:
        bare = name.strip("_")
        if bare in rules.names:
            yield Finding(path, line, name, rules.names[bare])
        for part in re.findall(r"[A-Z]?[a-z]+", bare):
            if part.lower() in rules.name_parts:
                yield Finding(path, line, name, rules.name_parts[part.lower()])


def check_file(path: str, rules: Rules) -> list[Finding]:
    """All findings in one file, by line; none in a file of a kind that has no prose."""
    file = ROOT / path
    suffix = file.suffix
    found: list[Finding] = []
    texts: Iterable[Text] = ()
    if suffix == ".py":
        source = file.read_text()
        tree = ast.parse(source, path)
        texts = python_texts(source, tree, is_test="tests/" in path)
        found += check_names(path, tree, rules)
    elif suffix == ".md":
        texts = markdown_texts(file.read_text())
    elif suffix in (".lua", ".proto"):
        texts = line_comment_texts(file.read_text(), "--" if suffix == ".lua" else "//")
    elif suffix in _HASH_COMMENTS or file.name in _HASH_COMMENT_NAMES:
        texts = line_comment_texts(file.read_text(), "#")
    for text in texts:
        found += check_text(path, text, rules)
    return sorted(
        {finding for finding in found if not rules.allows(finding)}, key=lambda finding: (finding.line, finding.word)
    )


def check_subject(message: str, rules: Rules) -> list[str]:
    """The faults of a commit message's first line; merges, reverts and fixups are git's own words."""
    subject = next(iter(message.splitlines()), "")
    if re.match(r"(?:Merge|Revert) |(?:fixup|squash|amend)! ", subject):
        return []
    parsed = re.fullmatch(r"(?P<area>[a-z-]+): (?P<verb>\S+)(?P<rest>.*)", subject)
    if not parsed:
        return ["write `area: imperative`, as in `payment: refuse a second refund`"]
    faults = []
    if parsed["area"] not in rules.areas:
        faults.append(f"{parsed['area']} is not an area: {', '.join(rules.areas)}")
    if len(subject) > rules.max_subject:
        faults.append(f"{len(subject)} characters → at most {rules.max_subject}")
    if not re.fullmatch(r"[a-z][a-z-]*", parsed["verb"]):
        faults.append(f"{parsed['verb']} → a verb in lower case")
    elif re.fullmatch(r"\w+(?:ing|[^e]ed|[^s]s)", parsed["verb"]) and parsed["verb"] not in ("bring", "bus", "focus"):
        faults.append(f"{parsed['verb']} → the imperative")
    if subject.endswith("."):
        faults.append("a full stop at the end → none")
    faults += [f"{finding.word} → {finding.better}" for finding in check_text("", Text(1, subject), rules)]
    return faults


def tracked(under: Sequence[str]) -> list[str]:
    """The tracked files of these folders, or of the whole tree."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *under]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in names.split("\0") if name and name not in _UNCHECKED and (ROOT / name).is_file()]


def subjects(commits: str) -> list[str]:
    """The subjects of a range of commits."""
    command = ["git", "log", "--format=%s", commits, "--"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()


def main(arguments: Sequence[str]) -> int:
    """Prints the findings; 1 if there are any."""
    rules = Rules.load(tomllib.loads(SETTINGS.read_text()))
    if arguments[:1] in (["--commit"], ["--commits"]):
        is_file = arguments[0] == "--commit"
        messages = [Path(arguments[1]).read_text()] if is_file else subjects(arguments[1])
        faults = [
            f"{message.partition(chr(10))[0]}: {fault}"
            for message in messages
            for fault in check_subject(message, rules)
        ]
        for fault in faults:
            print(fault, file=sys.stderr)
        return 1 if faults else 0
    if arguments == ["--clean"]:
        if not rules.clean:
            return 0
        under = list(rules.clean)
    else:
        under = [str(Path(argument).resolve().relative_to(ROOT)) for argument in arguments]
    findings = [finding for path in tracked(under) for finding in check_file(path, rules)]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
