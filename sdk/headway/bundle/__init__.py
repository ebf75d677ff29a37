"""Run bundles: a run as one file, to be looked at and forked where nothing of it is left.

A bundle is a ZIP file (deflate) of JSON and JSON Lines, so that `unzip -l` and `jq` read it too;
`format` describes it and knows its bounds, `writer` makes it in one pass, `reader` takes it from
strangers, `offline` answers the api's reading verbs from it, so that every screen and command that
looks at a run works on it unchanged.
"""

from __future__ import annotations

from headway.bundle.format import BadBundle, Manifest
from headway.bundle.offline import OfflineClient
from headway.bundle.reader import Bundle
from headway.bundle.writer import BundleWriter

__all__ = ["BadBundle", "Bundle", "BundleWriter", "Manifest", "OfflineClient"]
