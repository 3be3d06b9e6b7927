"""Where something stands in a JSON document, and how that is written down.

A place is a tuple of keys and indexes; its spelling is the one of JavaScript:
`services[0].plans[1].id`, and `["odd key"]` where a key is no plain word.
"""

import json
import re

Place = tuple[str | int, ...]

_WORD = re.compile(r"[A-Za-z_$][\w$-]*", re.ASCII)
_LONGEST_KEY = 64


def spell(place: Place) -> str:
    """Write a place as text; the root is the empty string.

    Keys may come from a request: they are cut after 64 characters and anything
    but printable ASCII is escaped.
    """
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        elif len(step) <= _LONGEST_KEY and _WORD.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(_cut(step))}]"
    return text


def _cut(key: str) -> str:
    return key if len(key) <= _LONGEST_KEY else f"{key[:_LONGEST_KEY]}…"
