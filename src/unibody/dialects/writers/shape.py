"""Shape: what a message of one kind looks like, as a TOML file states it, filled with one decision.

    "{reason}"                               the word itself, with its type; left out where it is empty
    "Stop {subject}: {reason}"               words within a text
    { from = "risk", codes = { low = "MINOR" }, default = "MAJOR" }      another system's word for ours
    { each = "evidence.vin", item = { vin = "{it}" } }                   one item each

Words are the decision's columns, `key`, `reverts` (the key that a counter-message takes back), `uuid` (of this message),
`first_uuid` (of the message taken back, else its own), `acted_at`, `acted_on`, `evidence.NAME` (all that the
evidence lists under NAME) and `with.NAME` (what the route in the settings adds). What a word holds is never read again
as a shape.
"""

from __future__ import annotations

import math
import re
import tomllib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unibody.dialects.writers import TRANSPORTS
from unibody.errors import SetupError, nearest
from unibody.tables import Decision

WORD = re.compile(r"\{([a-z_]\w*(?:\.\w+)?)\}")
OWN_WORDS = ("key", "reverts", "uuid", "first_uuid", "acted_at", "acted_on", "it")
KEYS = ("about", "transport", "based_on", "needs", "options", "message", "counter")
DEPTH_MAX, BODY_BYTES_MAX = 20, 20_000_000
#: A name for the ids that are made of keys; any UUID, ours alone.
NAMESPACE = uuid.UUID("6f1d4a52-0f0c-4a0e-9d35-3d1f3b6c2a11")


@dataclass(frozen=True)
class Shape:
    """What messages of one kind look like, and by what transport they go."""

    name: str
    about: str
    transport: str
    message: Any
    counter: Mapping[str, Any]  # laid over `message`: what is said to take it back
    needs: tuple[str, ...] = ()  # words that must not be empty
    options: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""


def find(folders: Iterable[Path]) -> dict[str, Shape]:
    """All shapes in these folders, by name; a later folder's replaces one of the same name.

    Raises SetupError naming file, key and what would have been right.
    """
    paths = {
        p.stem: p
        for folder in folders
        if folder.is_dir()
        for p in sorted(folder.iterdir())
        if p.suffix == ".toml"
    }
    return {name: load(path, paths) for name, path in sorted(paths.items())}


def load(path: Path, others: Mapping[str, Path] | None = None) -> Shape:
    """Read one shape; `others` are the files that `based_on` may name."""
    stated = _stated(path, others or {}, 0)
    for key in stated:
        if key not in KEYS:
            raise SetupError(f"{path}: no key {key!r}; {nearest(key, KEYS)}")
    about, transport = stated.get("about"), stated.get("transport")
    if not isinstance(about, str):
        raise SetupError(f"{path}: about = {about!r} should say in a text what it is for")
    if transport not in TRANSPORTS:
        raise SetupError(f"{path}: transport = {transport!r}; {nearest(str(transport), TRANSPORTS)}")
    if not isinstance(stated.get("message"), dict):
        raise SetupError(f"{path}: message should be a table: what the message looks like")
    counter, needs, options = stated.get("counter"), stated.get("needs", []), stated.get("options", {})
    if not isinstance(counter, dict):
        raise SetupError(f"{path}: counter should be a table: what is said to take it back")
    if not isinstance(needs, list) or not isinstance(options, dict):
        raise SetupError(f"{path}: needs should be a list of words, options a table")
    for word in [*needs, *words_of(stated["message"]), *words_of(counter)]:
        _known(word, path)
    return Shape(
        path.stem, about, str(transport), stated["message"], counter, tuple(needs), options, str(path)
    )


def _stated(path: Path, others: Mapping[str, Path], depth: int) -> dict[str, Any]:
    try:
        own = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as e:
        raise SetupError(f"{path}: cannot be read as TOML: {e}") from e
    base = own.get("based_on")
    if base is None:
        return own
    if base not in others:
        raise SetupError(f"{path}: based_on = {base!r}: {nearest(str(base), others)}")
    if depth > 5:
        raise SetupError(f"{path}: based_on goes in a circle or deeper than 5")
    joined: dict[str, Any] = laid_over(_stated(others[base], others, depth + 1), own)
    return joined


def laid_over(base: Any, own: Any) -> Any:
    """Tables are joined, anything else is replaced.

    >>> laid_over({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 4}})
    {'a': 1, 'b': {'c': 4, 'd': 3}}
    """
    if not isinstance(base, dict) or not isinstance(own, dict):
        return own
    return base | {k: laid_over(base[k], v) if k in base else v for k, v in own.items()}


def words_of(part: Any) -> set[str]:
    """The words that a shape uses."""
    if isinstance(part, str):
        return set(WORD.findall(part))
    if isinstance(part, list):
        return set().union(*(words_of(p) for p in part))
    if isinstance(part, dict):
        if _form(part) == "from":
            return {part["from"]}
        if _form(part) == "each":
            return {part["each"]} | words_of(part.get("item", ""))
        return set().union(*(words_of(v) for v in part.values()))
    return set()


def _form(part: Mapping[str, Any]) -> str:
    """Is a table one of the two forms, or (as a message may have a key `from` too) just a table?"""
    for form, beside in (("from", {"codes", "default"}), ("each", {"item"})):
        if (
            isinstance(part.get(form), str)
            and not part[form].startswith("{")
            and set(part) <= {form} | beside
        ):
            return form
    return ""


def _known(word: str, path: Path) -> None:
    if word.partition(".")[0] in ("evidence", "with") and "." in word:
        return
    known = [*Decision.columns, *OWN_WORDS]
    if word not in known:
        raise SetupError(f"{path}: no word {word!r}; {nearest(word, known)}")


def words(
    decision: Mapping[str, Any], key: str, reverts: str, extra: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    """The words of one decision: `decision` is its row, `evidence` parsed; `extra` what the route adds."""
    at = now.astimezone(UTC)
    found: dict[str, Any] = {n: _plain(decision.get(n)) for n in Decision.columns}
    found |= {f"with.{k}": v for k, v in extra.items()}
    items = decision.get("evidence")
    for item in items if isinstance(items, list) else []:
        for name, value in item.items() if isinstance(item, dict) else ():
            into = found.setdefault(f"evidence.{name}", [])
            into += [v for v in (value if isinstance(value, list) else [value]) if v not in (None, "")]
    for name in [n for n in found if n.startswith("evidence.")]:
        found[name] = list({repr(v): v for v in found[name]}.values())  # each once, in order
    return found | {
        "key": key, "reverts": reverts or None, "uuid": str(uuid.uuid5(NAMESPACE, key)),
        "first_uuid": str(uuid.uuid5(NAMESPACE, reverts or key)),
        "acted_at": at.isoformat(timespec="seconds").replace("+00:00", "Z"), "acted_on": f"{at:%Y-%m-%d}",
    }  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def filled(shape: Shape, known: Mapping[str, Any], counter: bool = False) -> Any:
    """The message about one decision, ready to be sent as JSON; with `counter`, the one that takes it back.

    Raises SetupError naming the word that is missing: of `needs`, or a `with.NAME` that the route does not state.
    """
    for word in shape.needs:
        if known.get(word) in (None, "", []):
            raise SetupError(f"writer {shape.name}: the decision says nothing for {word}")
    return _fill(laid_over(shape.message, shape.counter) if counter else shape.message, known, shape, 0)


def _fill(part: Any, known: Mapping[str, Any], shape: Shape, depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise SetupError(f"writer {shape.name}: the message is nested deeper than {DEPTH_MAX}")
    if isinstance(part, str):
        whole = WORD.fullmatch(part)
        if whole:
            return _word(whole[1], known, shape)
        return WORD.sub(lambda m: _text(_word(m[1], known, shape)), part)
    if isinstance(part, list):
        return [_fill(p, known, shape, depth + 1) for p in part]
    if not isinstance(part, dict):
        return part
    if _form(part) == "from":
        value = _word(part["from"], known, shape, "default" in part)
        return part.get("codes", {}).get(_text(value), part.get("default", value))
    if _form(part) == "each":
        values = _word(part["each"], known, shape) or []
        return [_fill(part.get("item", "{it}"), {**known, "it": v}, shape, depth + 1) for v in values]
    filled_in = {k: _fill(v, known, shape, depth + 1) for k, v in part.items()}
    return {k: v for k, v in filled_in.items() if v is not None}


def _word(name: str, known: Mapping[str, Any], shape: Shape, optional: bool = False) -> Any:
    if name.startswith("with.") and name not in known and not optional:
        raise SetupError(f"writer {shape.name}: the route should state {name}: with = {{ {name[5:]} = ... }}")
    return known.get(name)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
