"""Foreign text, made fit to be shown: short, printable, and without anything that may be secret.

A server knows the login that it was sent, and may repeat it in whatever it answers. So only words, numbers
and names of a message are shown, and nothing of a message that repeats a secret in any form.
"""

import base64
import html
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, unquote, unquote_plus, urlsplit

from pruner import names

MESSAGE_LIMIT: Final = 200
_READ_LENGTH: Final = 20_000
_LOOKED_AT_LENGTH: Final = 2_000
"""Characters of what is visible: far more than is shown, so that a secret is not looked for in one half."""
# Linear for any text: what is not closed goes on to the end, and no tag holds the beginning of another.
_MARKUP: Final = re.compile(
    r"<(?:script|style)\b.*?(?:</(?:script|style)>|\Z)|<[^<>]*>", re.DOTALL | re.IGNORECASE
)
_LONGEST_WORD: Final = 40
"""A signature, a key or a token is longer, or is one of the secrets that are known."""
_DIGEST: Final = re.compile(r"(.*?@)?sha256:[0-9a-f]{64}[.,;:]?")
_HIDDEN_WORD: Final = "[…]"
HIDDEN: Final = "[hidden: it repeats a secret]"
_DECODINGS: Final = 3
"""So often may a text be encoded over and over."""
_MOST_VARIANTS: Final = 64
_SHORTEST_BARE: Final = 8
"""Letters and digits of a secret; fewer would be found by chance where all else is left out."""
_BETWEEN: Final = re.compile(r"[\W_]+")
_ESCAPE: Final = re.compile(
    r"\\u\{([0-9a-fA-F]{1,6})\}|[\\%]u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})"
    r"|(?:\\x|\b0x|=)([0-9a-fA-F]{2})|\\([0-7]{3})|=\r?\n|\\(.)",
    re.DOTALL,
)
_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.\[\]:_-]{1,255}")


def clean_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Foreign text for people: words without markup and control characters, at most 200 characters."""
    if len(text) > _READ_LENGTH:
        # Not in the middle of a word: half a signature would not be recognised.
        text = text[:_READ_LENGTH].rpartition(" ")[0]
    visible = _MARKUP.sub(" ", text)
    if repeats(visible[: 2 * _LOOKED_AT_LENGTH], secrets):
        return HIDDEN
    if len(visible) > _LOOKED_AT_LENGTH:
        visible = visible[:_LOOKED_AT_LENGTH].rpartition(" ")[0]
    return names.printable(" ".join(map(_word, visible.split())), MESSAGE_LIMIT)


def _word(word: str) -> str:
    return word if len(word) <= _LONGEST_WORD or _DIGEST.fullmatch(word) else _HIDDEN_WORD


def shown_origin(url: str, secrets: Iterable[str] = ()) -> str:
    """Scheme and host of a URL that a server names; its path and its query may hold a secret."""
    try:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    except ValueError:
        origin = ""
    if not _ORIGIN.fullmatch(origin) or repeats(origin, secrets):
        return "another address"
    return origin


def repeats(text: str, secrets: Iterable[str]) -> bool:
    """Whether a text holds one of ``secrets`` in any form that is known, also with something in between."""
    forms = {form.casefold() for secret in secrets if secret for form in _forms(secret)}
    if not forms:
        return False
    bare_forms = {bare for form in forms if len(bare := _bare(form)) >= _SHORTEST_BARE}
    for variant in _variants(text):
        folded, bare = variant.casefold(), _bare(variant)
        if any(form in folded for form in forms) or any(form in bare for form in bare_forms):
            return True
    return False


def _bare(text: str) -> str:
    """The letters and digits of a text: a server may split what it repeats, or write it in another width."""
    return _BETWEEN.sub("", unicodedata.normalize("NFKC", text).casefold())


def _forms(secret: str) -> Iterator[str]:
    """A secret as it stands, and as other things than text are written."""
    data = secret.encode("utf-8", "surrogatepass")
    yield secret
    yield quote(data, safe="")
    yield " ".join(secret.split())
    yield data.hex()
    # Within a longer text base64 has one of three forms, of which the middle is the same.
    for start in range(3):
        inner = data[start:]
        encoded = base64.b64encode(inner[: len(inner) // 3 * 3]).decode()
        if len(encoded) >= 8:
            yield encoded
            yield encoded.translate(str.maketrans("+/", "-_"))


def _variants(text: str) -> set[str]:
    """A text, and what it becomes when what may be encoded in it is decoded."""
    found = {text}
    latest = found
    for _ in range(_DECODINGS):
        latest = {decoded for own in latest for decoded in _decoded(own)} - found
        found |= latest
        if not latest or len(found) > _MOST_VARIANTS:
            break
    return found


def _decoded(text: str) -> Iterator[str]:
    yield unquote(text)
    yield unquote_plus(text)
    yield html.unescape(text)
    yield _ESCAPE.sub(_unescaped, text)
    yield " ".join(_MARKUP.sub("", text).split())


def _unescaped(match: re.Match[str]) -> str:
    braced, short, long, byte, octal, letter = match.groups()
    if letter is not None:
        return json.loads(f'"\\{letter}"') if letter in "bfnrt" else letter
    if octal is not None:
        return chr(int(octal, 8))
    number = int(braced or short or long or byte or "20", 16)
    return chr(number) if number < 0x110000 else match[0]
