"""Foreign text, made fit to be shown."""

import re
from typing import Final

from pruner import names

MESSAGE_LIMIT: Final = 200
_READ_LENGTH: Final = 20_000
_MARKUP: Final = re.compile(r"<(?:script|style)\b.*?</(?:script|style)>|<[^>]*>", re.DOTALL | re.IGNORECASE)
# A server or proxy may echo request headers in its error page.
_SIGNATURE: Final = re.compile(r"[A-Za-z0-9+/]{40,}=*")


def clean_text(text: str) -> str:
    """Foreign text for people: no markup, no control characters, no signature, at most 200 characters."""
    if len(text) > _READ_LENGTH:
        # Not in the middle of a word: half a signature would not be recognised.
        text = text[:_READ_LENGTH].rpartition(" ")[0]
    visible = " ".join(_MARKUP.sub(" ", text).split())
    return names.printable(_SIGNATURE.sub("[signature]", visible), MESSAGE_LIMIT)
