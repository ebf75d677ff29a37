"""What a Textual app shows: as text, as roles of style, as a picture. From its own strips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from headway_tui.themes import ROLES as THEMES

if TYPE_CHECKING:
    from rich.color import Color
    from rich.style import Style
    from textual.app import App

FONTS = Path("/usr/share/fonts/truetype/dejavu")
SIZE = 15


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


def roles_of(app: Any) -> str:
    """The colours of the screen by role, one line each: `text 12, bad 4 cursor, ...`.

    A role that shares its colour with another one has the name of the first.
    """
    names: dict[str, str] = {}
    for name, color in sorted(THEMES[app.theme].items()):
        names.setdefault(color, name)
    for name, color in (("text", "#d8dee9"), ("back", "#11161d")):
        names[THEMES[app.theme].get(name, color)] = name
    lines: list[str] = []
    for strip in strips_of(app):
        runs: list[tuple[str, int]] = []
        for segment in strip:
            if segment.control or not segment.text:
                continue
            role = _role(segment.style, names) if segment.text.strip() else _paper(segment, names)
            cells = cell_len(segment.text)
            if runs and runs[-1][0] == role:
                cells += runs.pop()[1]
            runs.append((role, cells))
        lines.append(", ".join(f"{role} {cells}".strip() for role, cells in runs))
    return "\n".join(lines) + "\n"


def _name(color: Color | None, names: dict[str, str]) -> str:
    if color is None or color.is_default:
        return ""
    triplet = color.get_truecolor()
    return str(names.get(triplet.hex, triplet.hex))


def _paper(segment: Any, names: dict[str, str]) -> str:
    back = _name(segment.style.bgcolor, names) if segment.style is not None else ""
    return "-" if back in {"", "back"} else f"on {back}"


def _role(style: Style | None, names: dict[str, str]) -> str:
    if style is None:
        return "-"
    back = _name(style.bgcolor, names)
    parts = [_name(style.color, names) or "-"]
    parts += [f"on {back}"] if back not in {"", "back"} else []
    parts += [w for w in ("bold", "dim", "reverse", "underline") if getattr(style, w)]
    return " ".join(parts)


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
