"""Telling names from secrets that were pasted where a name belongs.

The check is an allow-list: what does not look like a name that a person chose is not shown.
"""

import re
from typing import Final

_MAX_LENGTH: Final = 128
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.:/@ -]*")
_WORD: Final = re.compile(r"[A-Za-z0-9]+")
_PLAIN_WORD: Final = re.compile(
    # An ordinary word, a short word with digits, an account number, a word with a small number behind it.
    r"[a-z]{1,30}|[A-Za-z0-9]{1,12}|[0-9]{1,15}|(?=.{1,15}$)[A-Za-z]+[0-9]{0,4}"
)


def is_plain_name(text: str, max_length: int = _MAX_LENGTH) -> bool:
    """Whether ``text`` is a name that may be shown: no part of it looks like a key or a token."""
    return (
        len(text) <= max_length
        and _NAME.fullmatch(text) is not None
        and all(_PLAIN_WORD.fullmatch(word) for word in _WORD.findall(text))
    )
