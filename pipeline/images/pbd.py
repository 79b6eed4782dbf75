"""The packed samples of Vaa3D's .v3dpbd: literals, runs and small differences (Sean Murphy, Vaa3D 2010).

Each code is a byte that says what follows it. Of 8-bit samples: 0 to 32, as many + 1 samples as they are; 33 to 127,
as many - 32 differences to the sample before, four in a byte, the lowest bits first, 3 for -1; 128 to 255, one
sample that comes as many - 127 times. Of 16-bit samples: 0 to 31 literal; 32 to 79, 80 to 182 and 183 to 222,
differences of 3, 4 and 5 bits, the highest bits first, those above half their range (4, 8, 16) negative: half - code;
223 to 255 one sample as many - 222 times. Vaa3D itself writes the 3-bit ones only.

Decoding goes code by code in Python only to find where each begins, a list look-up a code; samples are made by numpy.
"""

from typing import NamedTuple

import numpy as np

# What is decoded at once: at most 64 times as many samples.
CODES = 2**14


class Table(NamedTuple):
    """By code: count of samples, bytes that follow, kind (0 literal, 1 run, else bits of a difference)."""

    samples: np.ndarray
    bytes: np.ndarray
    kind: np.ndarray


def _table(width: int) -> Table:
    code = np.arange(256)
    if width == 1:
        kind = np.select([code < 33, code < 128], [0, 2], 1)
        samples = np.select([code < 33, code < 128], [code + 1, code - 32], code - 127)
    else:
        limits = [code < 32, code < 80, code < 183, code < 223]
        kind = np.select(limits, [0, 3, 4, 5], 1)
        samples = np.select(limits, [code + 1, code - 31, code - 79, code - 182], code - 222)
    following = np.select([kind == 0, kind == 1], [samples * width, width], -(-samples * kind // 8))
    return Table(samples, following, kind)


TABLES = {1: _table(1), 2: _table(2)}


class Decoder:
    """Samples of packed bytes, from front to back: `take(n)` gives the next n; ValueError where they are damaged."""

    def __init__(self, packed: np.ndarray, dtype: np.dtype) -> None:
        self.packed, self.dtype = packed, np.dtype(dtype)
        self.at = self.given = 0
        self._prior = 0
        self._ready = np.empty(0, self.dtype.newbyteorder("="))

    def take(self, count: int) -> np.ndarray:
        parts, left = [], count
        while left:
            if not len(self._ready):
                self._ready = self._decode()
            part, self._ready = self._ready[:left], self._ready[left:]
            parts.append(part)
            left -= len(part)
        self.given += count
        return np.concatenate(parts) if parts else self._ready[:0]

    def is_at_end(self) -> bool:
        """Whether all packed bytes gave samples that were taken."""
        return not len(self._ready) and self.at == len(self.packed)

    def _decode(self) -> np.ndarray:
        """The samples of the next codes, those that begin in CODES bytes."""
        if self.at >= len(self.packed):
            raise ValueError("packed samples end before the last voxel")
        table = TABLES[self.dtype.itemsize]
        chunk = np.asarray(self.packed[self.at : self.at + CODES + 128])  # the longest code is 67 bytes
        steps = (table.bytes[chunk[:CODES]] + 1).tolist()
        starts, place = [], 0
        while place < len(steps):
            starts.append(place)
            place += steps[place]
        if place > len(chunk):
            raise ValueError("the last packed code is cut off")
        self.at += place
        samples = _unpack(chunk, np.array(starts), self._prior, table, self.dtype)
        self._prior = int(samples[-1])
        return samples


def _unpack(packed: np.ndarray, starts: np.ndarray, prior: int, table: Table, dtype: np.dtype) -> np.ndarray:
    """The samples of codes at `starts`, after a sample `prior`.

    A sample is the last one that stands as such before it, plus all differences since.
    """
    codes, padded = packed[starts], np.concatenate([packed, np.zeros(2, np.uint8)]).astype(np.int32)
    counts, kinds = table.samples[codes], table.kind[codes]
    # Of each sample: its place within its code, where that code's data begin, and where its own value does (literals
    # lie one after the other, a run has one).
    within = np.arange(counts.sum(), dtype=np.int32) - np.repeat(
        (np.cumsum(counts) - counts).astype(np.int32), counts
    )
    data = np.repeat((starts + 1).astype(np.int32), counts)
    first = data + within * np.repeat(np.where(kinds == 0, dtype.itemsize, 0).astype(np.int32), counts)
    if dtype.itemsize == 1:
        value = padded[first]
    else:
        low, high = (0, 1) if dtype.str[0] == "<" else (1, 0)
        value = padded[first + low] | padded[first + high] << 8
    if kinds.max() >= 2:
        value = _add_up(value, prior, np.repeat(kinds, counts), padded, data, within)
    return value.astype(dtype.newbyteorder("="))


def _add_up(
    value, prior: int, kind: np.ndarray, packed: np.ndarray, data: np.ndarray, within: np.ndarray
) -> np.ndarray:
    """Samples from those that stand as such (kind below 2) and the differences of the others."""
    change = np.zeros(len(kind), np.int64)
    for bits in (2, 3, 4, 5):
        here = kind == bits
        if here.any():
            change[here] = _differences(packed, data[here], within[here], bits)
    place = np.maximum.accumulate(np.where(kind < 2, np.arange(len(kind)), -1))
    sums = np.cumsum(change)
    since = sums - np.where(place < 0, 0, sums[place])
    return np.where(place < 0, prior, value[place]) + since


def _differences(packed: np.ndarray, data: np.ndarray, index: np.ndarray, bits: int) -> np.ndarray:
    """The differences `index` of those packed from the bytes `data` on."""
    if bits == 2:
        code = packed[data + index // 4] >> (2 * (index % 4)) & 3
        return np.where(code == 3, -1, code)
    bit = index * bits
    pair = packed[data + bit // 8] << 8 | packed[data + bit // 8 + 1]
    code, half = pair >> (16 - bits - bit % 8) & (1 << bits) - 1, 1 << bits - 1
    return np.where(code > half, half - code, code)


def encode(samples: np.ndarray) -> bytes:
    """Packed bytes of uint8 or uint16 samples (little-endian): runs of equal ones, else literals; what Vaa3D reads."""
    flat = np.ascontiguousarray(samples).ravel()
    width = flat.dtype.itemsize
    most_run, first_run, most_literal = (128, 127, 33) if width == 1 else (33, 222, 32)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], edges]) if len(flat) else np.empty(0, np.int64)
    lengths = np.diff(np.concatenate([starts, [len(flat)]]))
    raw = flat.astype(flat.dtype.newbyteorder("<")).tobytes()
    out, literal = bytearray(), 0  # literal: where the samples begin that are not written yet

    def flush(end: int) -> None:
        for at in range(literal, end, most_literal):
            last = min(at + most_literal, end)
            out.append(last - at - 1)
            out.extend(raw[at * width : last * width])

    long = lengths >= 4
    for start, length in zip(starts[long].tolist(), lengths[long].tolist(), strict=True):
        flush(start)
        literal = start + length
        value = raw[start * width : (start + 1) * width]
        whole, rest = divmod(length, most_run)
        out.extend((bytes([first_run + most_run]) + value) * whole)
        if rest:
            out.extend(bytes([first_run + rest]) + value)
    flush(len(flat))
    return bytes(out)
