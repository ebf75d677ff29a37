"""The console in a browser: `headway tui --serve`.

`door.py` decides who may come in, `page.py` is what a browser is given, `sessions.py` one console
process for each of them, `server.py` puts them on textual-serve.
"""
