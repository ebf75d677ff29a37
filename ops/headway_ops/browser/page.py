"""What a browser is given: one page with textual-serve's terminal, and nothing from elsewhere."""

from __future__ import annotations

from html import escape

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="static/css/xterm.css">
<script src="static/js/textual.js"></script>
<script src="focus.js"></script>
<style>
@font-face {{ font-family: "Roboto Mono"; font-display: block;
  src: url("static/fonts/RobotoMono-VariableFont_wght.ttf"); }}
html, body {{ margin: 0; height: 100%; overflow: hidden; background: #0e1117; color: #c9d1d9;
  font-family: "DejaVu Sans Mono", "Roboto Mono", monospace; }}
#terminal {{ position: absolute; inset: 0; opacity: 0; }}
body.-first-byte #terminal {{ opacity: 1; }}
.said {{ position: absolute; inset: 0; display: flex; align-items: center; justify-content: center;
  flex-direction: column; gap: 1em; }}
body.-first-byte .opening {{ display: none; }}
.ended {{ display: none; z-index: 20; background: rgba(14, 17, 23, 0.8); }}
body.-closed .ended {{ display: flex; }}
a {{ color: #58a6ff; }}
</style>
</head>
<body>
<div class="said opening">opening the console</div>
<div class="said ended"><div>The console has ended.</div><a href="">open it again</a></div>
<div id="terminal" class="textual-terminal" data-font-size="{font_size}"
  data-session-websocket-url="{socket}"></div>
</body>
</html>
"""

FOCUS = """addEventListener("load", function focus() {
  const keys = document.querySelector(".xterm-helper-textarea");
  if (keys) keys.focus(); else setTimeout(focus, 20);
});
"""
"""So that keys work at once, without a click."""


def page(title: str, socket: str, font_size: int) -> str:
    """The page; `socket` is the address of its websocket."""
    return PAGE.format(
        title=escape(title), socket=escape(socket), font_size=min(40, max(6, font_size))
    )


def headers(host: str) -> dict[str, str]:
    """Of every answer: nothing is loaded from elsewhere, framed, kept, or told to other sites."""
    return {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
            " font-src 'self' data:; img-src 'self' data: blob:;"
            f" connect-src 'self' ws://{host} wss://{host};"
            " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
