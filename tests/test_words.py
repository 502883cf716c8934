"""The vocabulary's linter: which words, names and commit subjects it reports."""

import ast
import tomllib

import pytest
from make import words

RULES = words.Rules.load(tomllib.loads(words.SETTINGS.read_text()))


def in_prose(text: str) -> list[str]:
    return [finding.word for finding in words.check_text("", words.Text(1, text), RULES)]


def in_names(source: str) -> list[str]:
    return [finding.word for finding in words.check_names("x.py", ast.parse(source), RULES)]


def in_python(source: str) -> list[str]:
    texts = words.python_texts(source, ast.parse(source), is_test=False)
    return [f"{finding.line} {finding.word}" for text in texts for finding in words.check_text("", text, RULES)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Whoever calls it waits.", ["Whoever"]),
        ("The ledger is told of it.", ["told"]),
        ("The body is no JSON.", ["is no JSON"]),
        ("What a caller is sent.", ["What a caller …"]),
        ("The row stays as it is.", ["as it is"]),
        ("There is no campaign. It is no longer paid. What is this? The answer is no.", []),
        ("The body is stored as soon as it is read. Money is held as it is earned.", []),
        ("The storyteller's newsletter intolded.", []),
    ],
)
def test_prose_findings(text: str, found: list[str]) -> None:
    assert in_prose(text) == found


def test_long_sentence_is_found_at_its_line() -> None:
    text = words.Text(3, "Short.\n\n" + "word " * 41, has_sentence_limit=True)
    assert [(finding.line, finding.word) for finding in words.check_text("", text, RULES)] == [
        (5, "a sentence of 41 words")
    ]


def test_names_are_checked_where_they_are_defined_and_not_where_they_are_used() -> None:
    assert in_names("class World: ...\nnews_feed = 1\ndef f(told): self.begun = told") == [
        "World",
        "news_feed",
        "told",
        "begun",
    ]
    assert in_names("World(); x = module.news; breaking_newspaper = 1") == []


def test_docstrings_comments_and_messages_are_prose_and_code_is_not() -> None:
    source = '"""Tells it."""\nx = 1  # told\n# Nobody\n# `whoever`\nraise E("nobody is here to answer")\ny = "told"\n'
    assert sorted(in_python(source)) == ["1 Tells", "2 told", "3 Nobody", "5 nobody"]


def test_code_in_markdown_is_skipped() -> None:
    source = "# Title\n\n`told` and\nnews\n\n```sh\ntell\n```\n\n| anew | x |\n"
    found = [
        f"{finding.line} {finding.word}"
        for text in words.markdown_texts(source)
        for finding in words.check_text("", text, RULES)
    ]
    assert found == ["4 news", "10 anew"]


@pytest.mark.parametrize(
    "subject",
    [
        "payment: ignore Stripe events that cannot be parsed",
        "libs: process in batches",
        "Merge branch 'x'",
        "tree: bring x",
    ],
)
def test_good_commit_subject(subject: str) -> None:
    assert words.check_subject(subject + "\n\nThe body may say told.", RULES) == []


@pytest.mark.parametrize(
    ("subject", "fault"),
    [
        ("Let it be", "write `area"),
        ("wallet: add x", "wallet is not an area"),
        ("libs: Add x", "lower case"),
        ("libs: added x", "the imperative"),
        ("libs: adds x", "the imperative"),
        ("libs: add x.", "full stop"),
        ("libs: add " + "x" * 70, "at most 72"),
        ("libs: publish the news", "news"),
    ],
)
def test_bad_commit_subject(subject: str, fault: str) -> None:
    assert fault in " ".join(words.check_subject(subject, RULES))


def test_exception_needs_a_reason_and_covers_one_word_in_one_folder() -> None:
    settings = tomllib.loads(words.SETTINGS.read_text())
    exception = {"path": "a/mail", "word": "told"}
    with pytest.raises(SystemExit, match="a/mail"):
        words.Rules.load({**settings, "exceptions": [exception]})
    rules = words.Rules.load({**settings, "exceptions": [{**exception, "reason": "a quotation"}]})
    assert rules.allows(words.Finding("a/mail/x.py", 1, "Told", ""))
    assert not rules.allows(words.Finding("a/mailer.py", 1, "told", ""))
    assert not rules.allows(words.Finding("a/mail/x.py", 1, "news", ""))
