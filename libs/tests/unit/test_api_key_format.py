"""The format of API keys."""

from hypothesis import given
from hypothesis import strategies as st

from adlib.api_key_format import generate, hash_of, is_well_formed, prefix_of


def test_generated_keys_are_well_formed_and_unique() -> None:
    texts = {generate() for _ in range(100)}
    assert len(texts) == 100
    assert all(is_well_formed(text) and len(text) == 53 for text in texts)
    assert len({hash_of(text) for text in texts}) == 100
    assert all(len(prefix_of(text)) == 12 for text in texts)


@given(st.integers(0, 52), st.characters(codec="ascii"))
def test_checksum_detects_a_wrong_character(position: int, character: str) -> None:
    text = generate()
    changed = text[:position] + character + text[position + 1 :]
    assert is_well_formed(changed) == (changed == text)


@given(st.text(max_size=80))
def test_other_text_is_not_well_formed(text: str) -> None:
    assert not is_well_formed(text)
    assert not is_well_formed(generate()[:-1])
