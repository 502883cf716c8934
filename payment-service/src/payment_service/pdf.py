"""Lays out simple HTML as PDF: headings, paragraphs, description lists and tables. The output is deterministic."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from html.parser import HTMLParser

from fontTools.ttLib import TTFont  # type: ignore[import-untyped]  # it ships no types
from fpdf import FPDF
from fpdf.enums import TableBordersLayout, VAlign, XPos, YPos
from fpdf.fonts import FontFace
from ttf_opensans import OPENSANS_BOLD, OPENSANS_REGULAR  # type: ignore[import-untyped]  # it ships no types

_FONT = "Open Sans"
_SIZES_PT = {"h1": 20, "h2": 13, "p": 9}
_TABLE_TEXT_PT = 9.5
_MARGIN_MM = 20
_GREY = (80, 80, 80)
_RULE = (200, 200, 200)
# fpdf2 rejects a row higher than a page. Only text with many [U+...] codes reaches this limit.
_MAX_CELL_LENGTH = 700
_WHITESPACE = re.compile(r"\s+")
_MISSING_GLYPHS_NOTE = "Characters that this document's font lacks are written as [U+number]; the HTML form shows them."


@dataclass
class _Block:
    """A heading or paragraph with one cell, or a description list or table; `tag` says which."""

    tag: str
    rows: list[list[str]] = field(default_factory=list)


class _BlockParser(HTMLParser):
    """Splits HTML into blocks, in document order."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[_Block] = []
        self.has_missing_glyphs = False
        self._is_in_table = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opens a block, a row or a cell; a paragraph in a cell and a line break start a new line."""
        if tag in ("dl", "table"):
            self.blocks.append(_Block(tag))
        elif tag in ("h1", "h2") or (tag == "p" and not self._is_in_table):
            self.blocks.append(_Block(tag, [[""]]))
        elif tag in ("tr", "dt"):
            self.blocks[-1].rows.append([""] if tag == "dt" else [])
        elif tag in ("dd", "th", "td"):
            self.blocks[-1].rows[-1].append("")
        elif tag == "br" or (tag == "p" and self.blocks[-1].rows[-1][-1].strip()):
            self.blocks[-1].rows[-1][-1] += "\n"
        self._is_in_table = tag == "table" or self._is_in_table

    def handle_endtag(self, tag: str) -> None:
        """Closes a table."""
        self._is_in_table = self._is_in_table and tag != "table"

    def handle_data(self, data: str) -> None:
        """Adds text to the open cell."""
        if not (self.blocks and self.blocks[-1].rows and self.blocks[-1].rows[-1]):
            return
        cells = self.blocks[-1].rows[-1]
        words = _WHITESPACE.sub(" ", data)
        text = "".join(
            character if ord(character) in _supported_characters() else f"[U+{ord(character):04X}]"
            for character in words
        )
        self.has_missing_glyphs = self.has_missing_glyphs or text != words
        cells[-1] += text


class _Document(FPDF):
    """An empty A4 document with a footer on each page."""

    def __init__(self, footer: str) -> None:
        super().__init__(format="A4")
        self._footer = footer
        # Otherwise fpdf2 replaces "{nb}" in the content by the number of pages.
        self.alias_nb_pages("")
        self.set_margin(_MARGIN_MM)
        self.set_auto_page_break(True, _MARGIN_MM)
        self.set_draw_color(_RULE)
        self.add_font(_FONT, "", OPENSANS_REGULAR.path)
        self.add_font(_FONT, "B", OPENSANS_BOLD.path)

    def footer(self) -> None:
        """Prints the footer and the page number."""
        self.set_y(-_MARGIN_MM / 2 - 3)
        self.set_font(_FONT, "", _SIZES_PT["p"])
        self.set_text_color(_GREY)
        self.cell(0, 4, f"{self._footer}, page {self.page_no()}", align="R")


def render(html: str, *, title: str, footer: str, created_at: datetime) -> bytes:
    """The HTML as a PDF of A4 pages."""
    parser = _BlockParser()
    parser.feed(html)
    document = _Document(footer)
    document.set_creation_date(created_at)
    document.set_title(title)
    document.set_lang("en")
    document.add_page()
    for block in parser.blocks:
        _add_block(document, block)
    if parser.has_missing_glyphs:
        _add_block(document, _Block("p", [[_MISSING_GLYPHS_NOTE]]))
    return bytes(document.output())


def _add_block(document: FPDF, block: _Block) -> None:
    if block.tag in ("dl", "table"):
        _add_table(document, block)
        return
    size_pt = _SIZES_PT[block.tag]
    document.set_font(_FONT, "" if block.tag == "p" else "B", size_pt)
    document.set_text_color(_GREY if block.tag == "p" else (0, 0, 0))
    document.ln(3)
    document.multi_cell(0, size_pt * 0.5, block.rows[0][0].strip(), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _add_table(document: FPDF, block: _Block) -> None:
    is_table = block.tag == "table"
    document.set_font(_FONT, "", _TABLE_TEXT_PT)
    document.set_text_color(0, 0, 0)
    document.ln(2)
    with document.table(
        col_widths=(42, 90, 38) if is_table else (62, 108),
        text_align=("LEFT", "LEFT", "RIGHT") if is_table else ("LEFT", "LEFT"),
        borders_layout=TableBordersLayout.HORIZONTAL_LINES if is_table else TableBordersLayout.NONE,
        first_row_as_headings=is_table,
        headings_style=FontFace(color=_GREY),
        v_align=VAlign.T,
        line_height=4.6,
        padding=(0.8, 0),
    ) as table:
        for cells in block.rows:
            row = table.row()
            for text in cells:
                row.cell("\n".join(line.strip() for line in _cut(text).split("\n")))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CELL_LENGTH else f"{text[:_MAX_CELL_LENGTH]}…"


@cache
def _supported_characters() -> frozenset[int]:
    """The code points that both weights of the font support."""
    fonts = [TTFont(font.path, lazy=True) for font in (OPENSANS_REGULAR, OPENSANS_BOLD)]
    regular, bold = (frozenset(font.getBestCmap()) for font in fonts)
    return regular & bold
