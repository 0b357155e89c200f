"""A reader of protobuf messages without their schema, for files whose own package is slow to import."""

from __future__ import annotations

from collections.abc import Iterator

FIXED_SIZES = {1: 8, 5: 4}  # wire type -> bytes


def fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yields (number, content) of each field of variable length in a message, such as strings and nested messages.

    Raises ValueError or IndexError where the bytes are no message.
    Source: protobuf.dev/programming-guides/encoding
    """
    position = 0

    def varint() -> int:
        nonlocal position
        value, shift, more = 0, 0, True
        while more:
            value |= (message[position] & 127) << shift
            more = message[position] > 127
            position, shift = position + 1, shift + 7
            if shift > 70:  # of 64 bits; a longer one would cost quadratic time
                raise ValueError("a number must have at most 10 bytes. Received: more")
        return value

    while position < len(message):
        number, wire_type = divmod(varint(), 8)
        if wire_type == 0 and number:
            varint()
        elif wire_type in FIXED_SIZES:
            position += FIXED_SIZES[wire_type]
        elif wire_type == 2:
            size = varint()
            yield number, message[position : position + size]
            position += size
        else:
            raise ValueError(f"the wire type must be 0, 1, 2 or 5. Received: {wire_type}")
    if position > len(message):
        raise IndexError(f"the last field must end at {len(message)}. Received: {position}")
