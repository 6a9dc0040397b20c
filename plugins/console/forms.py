"""What a form of the console may hold. Pure: bytes in, fields out; or why not, with the field's name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from urllib.parse import parse_qsl

LONGEST = 16 * 1024  # bytes of a body
REASON = 500  # characters, as the DAGs' own forms
_ONCE = re.compile(r"[0-9a-f]{32}")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_KEY = re.compile(r"(?!\.+$)[A-Za-z0-9_.~:+-]{1,250}")  # what Airflow lets a run or a task be called
_FORM = "application/x-www-form-urlencoded"


class BadForm(ValueError):
    """A form that is not taken; `status` is HTTP's."""

    def __init__(self, text: str, status: int = 422) -> None:
        super().__init__(text)
        self.status = status


def parse(content_type: str, body: bytes, fields: Collection[str]) -> dict[str, str]:
    """The fields of a form: each of `fields` once and no other, without surrounding blanks; `once` and `reason` good.

    `body` may be cut off behind LONGEST bytes. Raises BadForm.
    """
    if content_type.partition(";")[0].strip().lower() != _FORM:
        raise BadForm(f"a form was expected ({_FORM}), not {content_type[:80] or 'nothing'}", 415)
    if len(body) > LONGEST:
        raise BadForm(f"the form is longer than {LONGEST // 1024} KB", 413)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:  # UnicodeDecodeError is one, too many fields are
        raise BadForm("the form cannot be read: it is no text in UTF-8, or has far too many fields") from None
    found = {name: text.replace("\r\n", "\n").strip() for name, text in pairs}
    if unknown := sorted(set(found) - set(fields)):
        raise BadForm(f"{unknown[0][:40]}: the form has no such field; there are {', '.join(fields)}")
    if missing := [name for name in fields if name not in found]:
        raise BadForm(f"{missing[0]}: is missing")
    if len(pairs) != len(found):
        raise BadForm("a field comes twice")
    if strange := [name for name, text in found.items() if _strange(text)]:
        raise BadForm(f"{strange[0]}: holds characters that nobody can read")
    _check_once(found["once"])
    _check_reason(found["reason"])
    return found


def number(name: str, text: str) -> int:
    """A whole number from 1 on. Raises BadForm."""
    if not _NUMBER.fullmatch(text):
        raise BadForm(f"{name}: {text[:40]!r} is no version, which is a whole number from 1 on")
    return int(text)


def index(text: str) -> int:
    """A map index: -1 for a task that is not mapped. Raises BadForm."""
    if text != "-1" and not re.fullmatch(r"[0-9]{1,6}", text):
        raise BadForm(f"map_index: {text[:40]!r} is no index of a task")
    return int(text)


def key(name: str, text: str) -> str:
    """The id of a run or of a task: it becomes part of an address, and must not walk to another. Raises BadForm."""
    if not _KEY.fullmatch(text):
        raise BadForm(f"{name}: {text[:40]!r} is no id that Airflow gives")
    return text


def choice(text: str, allowed: Collection[str]) -> str:
    """One of the answers that there are. Raises BadForm."""
    if text not in allowed:
        raise BadForm(f"choice: {text[:40]!r} is no answer; there are {' and '.join(allowed)}")
    return text


def _check_once(text: str) -> None:
    if not _ONCE.fullmatch(text):
        raise BadForm("once: is not what the form came with; open the page anew and send it from there")


def _check_reason(text: str) -> None:
    if not text:
        raise BadForm("reason: say why, it is what others will read")
    if len(text) > REASON:
        raise BadForm(f"reason: is {len(text)} characters long, of {REASON} allowed")


def _strange(text: str) -> bool:
    """Control characters and halves of characters; a line may break."""
    return any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in text)
