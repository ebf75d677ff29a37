"""Field types that several bodies share, with their limits."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from headway.tags import TAG_LIMIT, TAGS_LIMIT
from headway.wire import DURATION_LIMIT

Name = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9_-]{0,63}\Z")]
RunId = Annotated[str, Meta(pattern=r"\A[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")]
Text = Annotated[str, Meta(max_length=256)]
Tags = Annotated[
    tuple[Annotated[str, Meta(max_length=TAG_LIMIT)], ...], Meta(max_length=TAGS_LIMIT)
]
Seconds = Annotated[float, Meta(ge=0, le=DURATION_LIMIT)]
Priority = Annotated[int, Meta(ge=-1000, le=1000)]
