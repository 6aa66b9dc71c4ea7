"""Frames to values: what each message's bits say, whole groups of frames at a time, equal to cantools to the bit.

Frames are grouped by message; the bytes of a group become 64-bit words, and each signal is a shift and a mask of one.
Where cantools itself cannot say (signals that overlap or leave their message), each signal is read by its own bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from unibody.dialects.readers.dbc import Bus

#: What became of a frame.
DECODED, UNKNOWN_ID, OTHER_LENGTH, UNKNOWN_MULTIPLEXER, REMOTE, ERROR = range(6)
STATES = ("decoded", "unknown id", "other length", "unknown multiplexer", "remote", "error")

#: What a value is: nothing, a number, a whole number that a float would round, a word.
NOTHING, NUMBER, WHOLE, WORD = range(4)

_EXACT = 1 << 53
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Signal:
    """One signal, ready to be read: `name` is MESSAGE.SIGNAL."""

    code: int
    name: str
    unit: str
    of: Any  # cantools.database.can.Signal
    keys: Array  # raw values that are words, sorted
    words: Array  # and the places of those words in Plan.words
    scale: float
    offset: float


@dataclass(frozen=True)
class Tree:
    """Signals that are always there, and for each multiplexer among them those that its values bring."""

    signals: tuple[Signal, ...]
    chosen: dict[int, dict[int, Tree]]  # place of the multiplexer in signals -> its value -> what that brings


@dataclass(frozen=True)
class Plan:
    """A bus, ready to decode: messages by id (bit 31 marks 29-bit ids), their signals, all words they can say."""

    ids: Array
    places: Array  # of ids, in messages
    messages: tuple[Any, ...]
    signals: tuple[Signal, ...]
    message_of: Array  # of each signal
    words: tuple[str, ...]
    trees: tuple[Tree, ...]


@dataclass(frozen=True)
class Decoded:
    """One row a value; a frame that could not be decoded has one row without signal. Frames keep their order."""

    frame: Array
    message: Array  # place in Plan.messages, or -1
    signal: Array  # place in Plan.signals, or -1
    kind: Array
    number: Array
    whole: Array
    word: Array
    state: Array  # of each frame


@lru_cache(maxsize=16)
def plan(bus: Bus) -> Plan:
    """Prepare a bus; of two messages with one id the last counts, as in cantools."""
    messages = tuple({m.frame_id | m.is_extended_frame << 31: m for m in bus.messages}.values())
    words: dict[str, int] = {}
    signals: list[Signal] = []
    message_of: list[int] = []
    trees: list[Tree] = []
    for place, message in enumerate(messages):
        by_name: dict[str, Signal] = {}
        for s in message.signals:
            conversion = s.conversion
            pairs = sorted((int(k), str(v)) for k, v in (conversion.choices or {}).items())
            low, high = (
                (-(1 << 63), (1 << 63) - 1) if s.is_signed or conversion.is_float else (0, (1 << 64) - 1)
            )
            pairs = [(k, v) for k, v in pairs if low <= k <= high]
            keys = np.array([k for k, _ in pairs], dtype=np.int64 if low else np.uint64)
            said = np.array([words.setdefault(v, len(words)) for _, v in pairs], dtype=np.int32)
            scale, offset = (
                int(x) if float(x).is_integer() else x for x in (conversion.scale, conversion.offset)
            )
            if conversion.is_float or not (isinstance(scale, int) and isinstance(offset, int)):
                scale, offset = conversion.scale, conversion.offset
            ready = Signal(
                len(signals), f"{message.name}.{s.name}", s.unit or "", s, keys, said, scale, offset
            )
            signals.append(ready)
            message_of.append(place)
            if _fits(s, message.length):
                by_name[s.name] = ready
        trees.append(_tree(message.signal_tree, by_name))
    ids = np.array([m.frame_id | m.is_extended_frame << 31 for m in messages], dtype=np.uint32)
    order = np.argsort(ids)
    owner = np.array(message_of, dtype=np.int32)
    return Plan(
        ids[order], order.astype(np.int32), messages, tuple(signals), owner, tuple(words), tuple(trees)
    )


def _tree(stated: Any, signals: dict[str, Signal]) -> Tree:
    """cantools' tree: names, and {multiplexer: {value: tree}}; signals that leave their message are left out."""
    names = [n for x in stated for n in ([x] if isinstance(x, str) else x) if n in signals]
    inner = {n: b for x in stated if not isinstance(x, str) for n, b in x.items() if n in signals}
    chosen = {names.index(n): {int(v): _tree(t, signals) for v, t in b.items()} for n, b in inner.items()}
    return Tree(tuple(signals[n] for n in names), chosen)


def decode(plan: Plan, ids: Array, state: Array, starts: Array, lengths: Array, data: Array) -> Decoded:
    """Decode frames: their ids (bit 31 marks 29-bit ones), what is known of their state, their bytes in `data`."""
    state = state.copy()
    place = np.searchsorted(plan.ids, ids).clip(max=max(len(plan.ids) - 1, 0))
    known = plan.ids[place] == ids if len(plan.ids) else np.zeros(len(ids), bool)
    message = np.where(known, plan.places[place] if len(plan.ids) else -1, -1).astype(np.int32)
    state[(message < 0) & (state == DECODED)] = UNKNOWN_ID
    size = np.array([m.length for m in plan.messages] or [0], dtype=np.int64)
    state[(message >= 0) & (size[message] != lengths) & (state == DECODED)] = OTHER_LENGTH
    work = _Work(np.zeros(len(ids), np.int64), [])
    good = np.flatnonzero(state == DECODED)
    order = good[np.argsort(message[good].astype(np.uint16), kind="stable")]
    cuts = np.flatnonzero(np.diff(message[order])) + 1
    for group in np.split(order, cuts) if len(order) else []:
        at = int(message[group[0]])
        width = plan.messages[at].length
        rows = data[starts[group][:, None] + np.arange(width)]
        lost = work.node(plan.trees[at], group, _Words(rows), np.arange(len(group)))
        state[lost] = UNKNOWN_MULTIPLEXER
    return work.gathered(message, state)


class _Words:
    """The bytes of frames of one message, as 64-bit words that begin at a byte: made once, used by many signals."""

    def __init__(self, rows: Array) -> None:
        self.rows = np.zeros((len(rows), rows.shape[1] + 16), np.uint8)
        self.rows[:, : rows.shape[1]] = rows
        self.short = rows.shape[1] <= 8
        self.made: dict[tuple[int, str], Array] = {}

    def word(self, byte: int, order: str) -> Array:
        if (byte, order) not in self.made:
            eight = np.ascontiguousarray(self.rows[:, byte : byte + 8]).view(order + "u8").ravel()
            self.made[byte, order] = eight.astype(np.uint64, copy=False)
        return self.made[byte, order]

    def raw(self, signal: Any) -> Array:
        """The signal's bits as uint64, or as Python integers where it has more than 64."""
        length = signal.length
        little = signal.byte_order == "little_endian"
        start = signal.start if little else 8 * (signal.start // 8) + 7 - signal.start % 8
        if length > 64:
            return self._long(start, length, little)
        byte = 0 if self.short and start + length <= 64 else start // 8
        start -= 8 * byte
        over = start + length - 64  # bits in a ninth byte
        if little:
            bits = self.word(byte, "<") >> np.uint64(start)
            if over > 0:
                bits = bits | (self.rows[:, byte + 8].astype(np.uint64) << np.uint64(64 - start))
        elif over > 0:
            bits = (self.word(byte, ">") << np.uint64(over)) | (self.rows[:, byte + 8] >> (8 - over)).astype(
                np.uint64
            )
        else:
            bits = self.word(byte, ">") >> np.uint64(-over)
        return bits & np.uint64((1 << length) - 1)

    def _long(self, start: int, length: int, little: bool) -> Array:
        width = self.rows.shape[1]
        shift = start if little else 8 * width - start - length
        whole = (int.from_bytes(r.tobytes(), "little" if little else "big") for r in self.rows)
        return np.array([(w >> shift) & ((1 << length) - 1) for w in whole], dtype=object)


@dataclass
class _Work:
    """Values as they are found: how many each frame has, and pieces of one signal each."""

    filled: Array
    pieces: list[tuple[Array, Array, int, Array, Array, Array | None, Array | None]]

    def node(self, tree: Tree, frames: Array, words: _Words, rows: Array) -> Array:
        """Decode the signals that every one of these frames has, then those that a multiplexer chooses.

        Gives the frames whose multiplexer has a value that the DBC does not list.
        """
        lost: list[Array] = []
        found = []
        chosen: dict[int, Array] = {}
        keep = np.ones(len(frames), bool)
        for place, signal in enumerate(tree.signals):
            raw = words.raw(signal.of)[rows]
            said = values(signal, raw)
            found.append((signal.code, *said))
            if place in tree.chosen:
                # a word stands for its raw value; otherwise cantools compares the scaled one
                chosen[place] = np.where(said[0] == WORD, _as_float(_signed(signal.of, raw)), said[1])
                keep &= np.isin(chosen[place], list(tree.chosen[place]))
        if not keep.all():
            lost.append(frames[~keep])
        here = frames[keep]
        for code, *parts in found:
            kind, number, whole, word = (
                x if x is None or len(here) == len(frames) else x[keep] for x in parts
            )
            self.pieces.append((here, self.filled[here], code, kind, number, whole, word))  # type: ignore[arg-type]
            self.filled[here] += 1
        for place, branches in tree.chosen.items():
            for value, inner in branches.items():
                mine = keep & (chosen[place] == value)
                if mine.any():
                    lost.append(self.node(inner, frames[mine], words, rows[mine]))
        return np.concatenate(lost) if lost else frames[:0]

    def gathered(self, message: Array, state: Array) -> Decoded:
        """All values in the order of the frames."""
        bad = state != DECODED
        self.filled[bad] = 0
        count = np.maximum(self.filled, 1)
        begin = np.cumsum(count) - count
        total = int(count.sum())
        signal = np.full(total, -1, np.int32)
        kind, number = np.zeros(total, np.uint8), np.zeros(total)
        whole, word = np.zeros(total, np.int64), np.full(total, -1, np.int32)
        for frames, rank, code, k, n, w, t in self.pieces:
            if bad.any():
                fine = ~bad[frames]
                frames, rank, k, n = frames[fine], rank[fine], k[fine], n[fine]
                w, t = (w[fine] if w is not None else None), (t[fine] if t is not None else None)
            to = begin[frames] + rank
            signal[to], kind[to], number[to] = code, k, n
            if w is not None:
                whole[to] = w
            if t is not None:
                word[to] = t
        frame = np.repeat(np.arange(len(message)), count)
        return Decoded(frame, message[frame], signal, kind, number, whole, word, state)


def values(signal: Signal, raw: Array) -> tuple[Array, Array, Array | None, Array | None]:
    """Raw bits to kind, number, whole number (None: none) and word (None: none)."""
    s, whole, word = signal.of, None, None
    bits = _signed(s, raw)
    kind = np.full(len(bits), NUMBER, np.uint8)
    scale, offset = signal.scale, signal.offset
    if s.conversion.is_float:
        number = bits if scale == 1 and offset == 0 else bits * scale + offset
    elif isinstance(scale, int) and isinstance(offset, int):
        most = (abs(scale) << s.length) + abs(offset)
        exact = bits.astype(np.int64) * scale + offset if most < 1 << 63 else _python(bits, scale, offset)
        number = _as_float(exact)
        if most > _EXACT:
            big = np.array([abs(int(x)) > _EXACT and -(1 << 63) <= int(x) < 1 << 63 for x in exact], bool)
            kind[big] = WHOLE
            whole = np.where(big, exact, 0).astype(np.int64)
    elif isinstance(scale, int) and (abs(scale) << s.length) > _EXACT:
        number = _as_float(_python(bits, scale, 0)) + offset
    else:
        number = _as_float(bits) * scale + offset
    if len(signal.keys):
        whole_bits = np.trunc(bits) if s.conversion.is_float else bits
        at = np.searchsorted(signal.keys, whole_bits).clip(max=len(signal.keys) - 1)
        said = signal.keys[at] == whole_bits
        kind[said] = WORD
        word = np.where(said, signal.words[at], -1).astype(np.int32)
    return kind, number, whole, word


def _signed(s: Any, raw: Array) -> Array:
    """Bits as the signal's own kind of number: unsigned, two's complement, or IEEE 754."""
    if s.conversion.is_float:
        form = {16: (np.uint16, np.float16), 32: (np.uint32, np.float32), 64: (np.uint64, np.float64)}[
            s.length
        ]
        return raw.astype(form[0]).view(form[1]).astype(np.float64)
    if not s.is_signed:
        return raw
    if raw.dtype == object:
        return np.array([x - (1 << s.length) if x >> (s.length - 1) else x for x in raw], dtype=object)
    up = np.uint64(64 - s.length)
    return (raw << up).view(np.int64) >> np.int64(64 - s.length)


def _python(bits: Array, scale: int, offset: int) -> Array:
    return np.array([int(x) * scale + offset for x in bits.tolist()], dtype=object)


def _as_float(numbers: Array) -> Array:
    return (
        np.array([float(x) for x in numbers], np.float64)
        if numbers.dtype == object
        else numbers.astype(np.float64)
    )


def _fits(s: Any, length: int) -> bool:
    start = s.start if s.byte_order == "little_endian" else 8 * (s.start // 8) + 7 - s.start % 8
    return bool(start + s.length <= 8 * length)
