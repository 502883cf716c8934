"""A receipt as PDF, laid out from the same HTML: the same state gives the same bytes."""

import re
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser

from fontTools.ttLib import TTFont  # type: ignore[import-untyped]  # it ships no types
from fpdf import FPDF
from fpdf.enums import TableBordersLayout, VAlign, XPos, YPos
from fpdf.fonts import FontFace
from ttf_opensans import OPENSANS_BOLD, OPENSANS_REGULAR  # type: ignore[import-untyped]  # it ships no types

from payment_service.receipts import page
from payment_service.receipts.model import Receipt

_FONT = "Open Sans"
_SIZES_PT = {"h1": 20, "h2": 13, "p": 9}
_TEXT_PT = 9.5
_MARGIN_MM = 20
_GREY = (80, 80, 80)
_LINE = (200, 200, 200)
# fpdf2 refuses a row that is higher than a page. All that a cell can have fits, but for texts written in codes.
_LONGEST_CELL = 700
_BLANKS = re.compile(r"\s+")
_LACKING = "Characters that this document's font lacks are written as [U+number]; the HTML form shows them."


@dataclass
class _Block:
    """A heading or paragraph of one cell, or a list of terms or table; `tag` says which."""

    tag: str
    rows: list[list[str]] = field(default_factory=list)


class _Blocks(HTMLParser):
    """What the template is made of, in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[_Block] = []
        self.is_lacking = False
        self._is_in_table = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opens a block, a row or a cell; a paragraph in a cell, and a break, begin a new line."""
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
        """Adds words to the open cell."""
        if not (self.blocks and self.blocks[-1].rows and self.blocks[-1].rows[-1]):
            return
        cells = self.blocks[-1].rows[-1]
        words = _BLANKS.sub(" ", data)
        text = "".join(character if ord(character) in _known() else f"[U+{ord(character):04X}]" for character in words)
        self.is_lacking = self.is_lacking or text != words
        cells[-1] += text


class _Pages(FPDF):
    """Empty pages that say at their foot what they belong to."""

    def __init__(self, label: str) -> None:
        super().__init__(format="A4")
        self._label = label
        # Otherwise "{nb}" in what somebody wrote becomes the number of pages.
        self.alias_nb_pages("")
        self.set_margin(_MARGIN_MM)
        self.set_auto_page_break(True, _MARGIN_MM)
        self.set_draw_color(_LINE)
        self.add_font(_FONT, "", OPENSANS_REGULAR.path)
        self.add_font(_FONT, "B", OPENSANS_BOLD.path)

    def footer(self) -> None:
        """The number of the receipt and of the page."""
        self.set_y(-_MARGIN_MM / 2 - 3)
        self.set_font(_FONT, "", _SIZES_PT["p"])
        self.set_text_color(_GREY)
        self.cell(0, 4, f"{self._label}, page {self.page_no()}", align="R")


def render(receipt: Receipt) -> bytes:
    """The receipt on as many A4 pages as it needs."""
    content = _Blocks()
    content.feed(page.content(receipt))
    pdf = _Pages(receipt.label)
    pdf.set_creation_date(receipt.issued_at)
    pdf.set_title(f"Receipt {receipt.label}")
    pdf.set_lang("en")
    pdf.add_page()
    for block in content.blocks:
        _lay_out(pdf, block)
    if content.is_lacking:
        _lay_out(pdf, _Block("p", [[_LACKING]]))
    return bytes(pdf.output())


def _lay_out(pdf: FPDF, block: _Block) -> None:
    if block.tag in ("dl", "table"):
        _table(pdf, block)
        return
    size_pt = _SIZES_PT[block.tag]
    pdf.set_font(_FONT, "" if block.tag == "p" else "B", size_pt)
    pdf.set_text_color(_GREY if block.tag == "p" else (0, 0, 0))
    pdf.ln(3)
    pdf.multi_cell(0, size_pt * 0.5, block.rows[0][0].strip(), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _table(pdf: FPDF, block: _Block) -> None:
    is_table = block.tag == "table"
    pdf.set_font(_FONT, "", _TEXT_PT)
    pdf.set_text_color(0, 0, 0)
    pdf.ln(2)
    with pdf.table(
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
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"


@cache
def _known() -> frozenset[int]:
    """The characters that both weights of the font have."""
    fonts = [TTFont(font.path, lazy=True) for font in (OPENSANS_REGULAR, OPENSANS_BOLD)]
    regular, bold = (frozenset(font.getBestCmap()) for font in fonts)
    return regular & bold
