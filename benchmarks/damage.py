"""What can happen to a file: flipped bits, cuts, blocks that are zeroed, doubled, exchanged or strange, and
headers and numbers that somebody made up to do harm.
"""

import json
import random
import re
import struct
import zlib
from collections.abc import Callable

Damage = Callable[[bytes, random.Random], bytes]

HOSTILE = (
    "9" * 400,
    "9" * 5000,
    "-1",
    "1e999",
    "NaN",
    "-Infinity",
    "18446744073709551616",
    "4294967296",
    "16384",
    "1.5",
    "null",
    "true",
    "[]",
    "{}",
    '""',
    '"' + "x" * 10_000 + '"',
    "[" * 2000,
    "[" * 50 + "]" * 50,
    '{"a":' * 200 + "1" + "}" * 200,
    "[16384, 16384]",
    '"\\ud800"',
)
"""Values that take the place of one in a header or a text."""
_VALUE = re.compile(rb'-?\d+(?:\.\d+)?(?:e-?\d+)?|true|false|null|"(?:[^"\\]|\\.)*"')
LARGEST_BLOCK = 4096


def _span(content: bytes, chance: random.Random) -> slice:
    begin = chance.randrange(len(content))
    return slice(begin, min(len(content), begin + chance.randint(1, min(LARGEST_BLOCK, len(content)))))


def flipped(content: bytes, chance: random.Random, bits: int = 1) -> bytes:
    changed = bytearray(content)
    for _ in range(bits):
        bit = chance.randrange(8 * len(changed))
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def some_flipped(content: bytes, chance: random.Random) -> bytes:
    return flipped(content, chance, chance.randint(2, 40))


def flipped_at_the_front(content: bytes, chance: random.Random) -> bytes:
    front = content[:512]
    return flipped(front, chance, chance.randint(1, 4)) + content[len(front) :]


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def zeroed(content: bytes, chance: random.Random) -> bytes:
    span = _span(content, chance)
    return content[: span.start] + bytes(span.stop - span.start) + content[span.stop :]


def strange(content: bytes, chance: random.Random) -> bytes:
    span = _span(content, chance)
    return content[: span.start] + chance.randbytes(span.stop - span.start) + content[span.stop :]


def doubled(content: bytes, chance: random.Random) -> bytes:
    span = _span(content, chance)
    return content[: span.stop] + content[span] + content[span.stop :]


def taken_out(content: bytes, chance: random.Random) -> bytes:
    span = _span(content, chance)
    return content[: span.start] + content[span.stop :]


def exchanged(content: bytes, chance: random.Random) -> bytes:
    length = max(1, min(LARGEST_BLOCK, len(content) // 3))
    first = chance.randrange(max(1, len(content) // 2 - length + 1))
    second = chance.randrange(first + length, max(first + length + 1, len(content) - length + 1))
    one, other = content[first : first + length], content[second : second + length]
    return content[:first] + other + content[first + length : second] + one + content[second + length :]


def appended(content: bytes, chance: random.Random) -> bytes:
    return content + chance.randbytes(chance.randint(1, LARGEST_BLOCK))


def replaced(content: bytes, chance: random.Random) -> bytes:
    return chance.choice((b"", chance.randbytes(chance.randint(1, 2000)), b"\xff\xfe" + content[:200]))


def hostile_text(content: bytes, chance: random.Random) -> bytes:
    """One value in a text of JSON or TOML is another one."""
    found = list(_VALUE.finditer(content))
    if not found:
        return content + chance.choice(HOSTILE).encode()
    value = chance.choice(found)
    return content[: value.start()] + chance.choice(HOSTILE).encode() + content[value.end() :]


def hostile_safetensors(content: bytes, chance: random.Random) -> bytes:
    """One value in the header, or in a text of its metadata, is another one; or the header is very long."""
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]
    if chance.random() < 0.1:
        return chance.choice((2**63, 2**64 - 1, len(content), 10**8)).to_bytes(8, "little") + content[8:]
    metadata = json.loads(header).get("__metadata__", {})
    if metadata and chance.random() < 0.6:
        name = chance.choice(sorted(metadata))
        inner = hostile_text(metadata[name].encode(), chance).decode(errors="replace")
        changed = {**json.loads(header), "__metadata__": {**metadata, name: inner}}
        header = json.dumps(changed).encode()
    else:
        header = hostile_text(header, chance)
    return len(header).to_bytes(8, "little") + header + data


def hostile_png(content: bytes, chance: random.Random) -> bytes:
    """A PNG whose header says another size or kind, with the right checksum."""
    if content[12:16] != b"IHDR":
        return some_flipped(content, chance)
    sizes = (0, 1, 2**14, 2**20, 2**31 - 1, 2**32 - 1)
    fields = list(struct.unpack(">IIBBBBB", content[16:29]))
    place = chance.randrange(5)
    fields[place] = chance.choice(sizes) if place < 2 else chance.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    chunk = b"IHDR" + struct.pack(">IIBBBBB", *fields)
    return content[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:]


def without_digest(content: bytes) -> bytes:
    """A safetensors file as version 0.2.0 wrote it, so that only the readers' own checks are left."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.get("__metadata__", {}).pop("semantic_focus.digest", None)
    changed = json.dumps(header).encode()
    return len(changed).to_bytes(8, "little") + changed + content[8 + length :]


COMMON: tuple[Damage, ...] = (
    flipped,
    some_flipped,
    flipped_at_the_front,
    cut,
    zeroed,
    strange,
    doubled,
    taken_out,
    exchanged,
    appended,
    replaced,
)
"""What can happen to any file."""
