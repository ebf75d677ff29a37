"""What a Textual app shows: as text, as roles of style, as a picture. From its own strips."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

if TYPE_CHECKING:
    from rich.style import Style
    from textual.app import App

FONTS = Path("/usr/share/fonts/truetype/dejavu")
SIZE = 15
GOLDEN = Path(__file__).parents[1] / "tui" / "golden"
SIZES = [(120, 40), (80, 24)]


def strips_of(app: App[Any]) -> list[Any]:
    """The lines of the screen; what is below a sheet is drawn below it."""
    compositor: Any = app.screen._compositor  # pyright: ignore[reportPrivateUsage]
    return list(compositor.render_strips())


def text_of(app: App[Any]) -> str:
    """The screen as text, without spaces at the ends; every line is checked for its cells."""
    lines: list[str] = []
    for strip in strips_of(app):
        text = "".join(s.text for s in strip if not s.control)
        assert cell_len(text) == app.size.width, (cell_len(text), text)
        lines.append(text.rstrip())
    return "\n".join(lines) + "\n"


def agreed(name: str, size: tuple[int, int], text: str) -> None:
    """The screen is as its file says; `WRITE_GOLDEN=1` writes what is shown now."""
    file = GOLDEN / f"{name}-{size[0]}x{size[1]}.txt"
    if os.environ.get("WRITE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


def _rgb(style: Style | None, which: str, default: tuple[int, int, int]) -> tuple[int, int, int]:
    color = getattr(style, which) if style is not None else None
    return tuple(color.get_truecolor()) if color is not None and not color.is_default else default


def picture_of(app: App[Any], to: Path) -> None:
    """A PNG of the screen, cell by cell."""
    from PIL import Image, ImageDraw, ImageFont

    fonts = {
        (bold, italic): ImageFont.truetype(
            str(FONTS / f"DejaVuSansMono{('-' if bold or italic else '') + 'Bold' * bold + 'Oblique' * italic}.ttf"),  # noqa: E501
            SIZE,
        )
        for bold in (False, True) for italic in (False, True)
    }  # fmt: skip
    wide, high = round(fonts[False, False].getlength("M")), round(SIZE * 1.25)
    image = Image.new("RGB", (app.size.width * wide, app.size.height * high))
    draw = ImageDraw.Draw(image)
    for y, strip in enumerate(strips_of(app)):
        x = 0
        for segment in strip:
            if segment.control or not segment.text:
                continue
            style = segment.style
            ink, paper = _rgb(style, "color", (216, 222, 233)), _rgb(style, "bgcolor", (17, 22, 29))
            if style is not None and style.reverse:
                ink, paper = paper, ink
            if style is not None and style.dim:
                ink = tuple((2 * i + p) // 3 for i, p in zip(ink, paper, strict=True))
            left, cells = x * wide, cell_len(segment.text)
            if not cells:
                continue
            draw.rectangle((left, y * high, (x + cells) * wide - 1, (y + 1) * high - 1), paper)
            font = fonts[bool(style and style.bold), bool(style and style.italic)]
            for char in segment.text:
                box = (x * wide, y * high, (x + 1) * wide - 1, (y + 1) * high - 1)
                if char == "█":
                    draw.rectangle(box, ink)
                elif char != " ":
                    draw.text((x * wide, y * high), char, ink, font)
                x += cell_len(char)
            if style is not None and style.underline:
                draw.line((left, (y + 1) * high - 2, x * wide, (y + 1) * high - 2), ink)
    to.parent.mkdir(parents=True, exist_ok=True)
    image.save(to)
