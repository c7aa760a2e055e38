"""Makes the Ed25519 edge cases: signatures on which implementations disagree, each built from plain arithmetic.

The cases follow Chalkias, Garillot and Nikolaenko, "Taming the many EdDSAs" (SSR 2020), table 5, made here with a
32-byte seed of its own. Textbook arithmetic with secrets in the open (RFC 8032, section 5.1): for vectors only.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha512

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
Point = tuple[int, int]
Projective = tuple[int, int, int]
ZERO: Point = (0, 1)
Case = tuple[str, bytes, bytes, bytes]
"""What it is, public key, message, signature."""


def _add(a: Projective, b: Projective) -> Projective:
    """The complete addition for a = -1 (Bernstein, Birkner, Joye, Lange, Peters 2008, section 6)."""
    z = a[2] * b[2] % P
    x, y = a[0] * b[0] % P, a[1] * b[1] % P
    cross = D * x * y % P
    less, more = (z * z - cross) % P, (z * z + cross) % P
    mixed = ((a[0] + a[1]) * (b[0] + b[1]) - x - y) % P
    return z * less * mixed % P, z * more * (x + y) % P, less * more % P


def _flat(point: Projective) -> Point:
    inverse = pow(point[2], P - 2, P)
    return point[0] * inverse % P, point[1] * inverse % P


def add(a: Point, b: Point) -> Point:
    return _flat(_add((*a, 1), (*b, 1)))


def multiply(scalar: int, point: Point) -> Point:
    result, power = (*ZERO, 1), (*point, 1)
    while scalar:
        if scalar & 1:
            result = _add(result, power)
        power = _add(power, power)
        scalar >>= 1
    return _flat(result)


def recover(y: int, odd: int) -> Point | None:
    """The point with this y and the lowest bit of x, or None if there is none."""
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P:
        return None
    return (P - x if x & 1 != odd else x), y % P


def encode(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def torsion() -> list[Point]:
    """The eight points of small order, each i times a generator of them."""
    y = 2
    while True:
        point = recover(y, 0)
        y += 1
        if point is not None:
            generator = multiply(L, point)
            if multiply(4, generator) != ZERO:
                return [multiply(i, generator) for i in range(8)]


BASE = recover(4 * pow(5, P - 2, P) % P, 0)
assert BASE is not None
SMALL = torsion()


def challenge(commitment: bytes, public: bytes, message: bytes) -> int:
    return int.from_bytes(sha512(commitment + public + message).digest(), "little") % L


def equations(a: Point, r: Point, public: bytes, signature: bytes, message: bytes) -> tuple[bool, bool]:
    """Whether S B = R + k A holds, and whether it holds times eight."""
    assert BASE is not None
    k = challenge(signature[:32], public, message)
    s = int.from_bytes(signature[32:], "little")
    left, right = multiply(s, BASE), add(r, multiply(k, a))
    return left == right, multiply(8, left) == multiply(8, right)


def edge_cases(secret: int) -> Iterator[Case]:
    """Every case, made from one secret scalar below L."""
    assert BASE is not None
    nonce = int.from_bytes(sha512(b"nonce").digest(), "little") % L
    yield from _orders(secret, nonce)
    yield from _large_scalars(secret, nonce)
    yield from _encodings(secret, nonce)


def _find(a: Point, r: Point, scalar: int, blind: int, wanted: tuple[bool, bool]) -> tuple[bytes, bytes, bytes]:
    """(public key, message, signature) for the first message on which the equations come out as wanted."""
    public, first = encode(a), encode(r)
    for count in range(10_000):
        message = b"chartledger edge case %d" % count
        s = (blind + challenge(first, public, message) * scalar) % L
        signature = first + s.to_bytes(32, "little")
        if equations(a, r, public, signature, message) == wanted:
            return public, message, signature
    raise AssertionError("no such message")


def _orders(secret: int, nonce: int) -> Iterator[Case]:
    assert BASE is not None
    key, r = multiply(secret, BASE), multiply(nonce, BASE)
    mixed_key, mixed_r = add(key, SMALL[1]), add(r, SMALL[3])
    holds, eightfold = (True, True), (False, True)
    yield "honest", *_find(key, r, secret, nonce, holds)
    yield "key and R of small order, S = 0", *_find(SMALL[1], SMALL[5], 0, 0, holds)
    yield "key of small order, R of mixed order", *_find(SMALL[1], mixed_r, 0, nonce, holds)
    yield "identity as key", *_find(SMALL[0], r, 0, nonce, holds)
    yield "key of mixed order, R of small order", *_find(mixed_key, SMALL[3], secret, 0, holds)
    yield "identity as R", *_find(key, SMALL[0], secret, 0, holds)
    yield "key and R of mixed order, equation holds", *_find(mixed_key, mixed_r, secret, nonce, holds)
    yield "key of mixed order, equation holds", *_find(mixed_key, r, secret, nonce, holds)
    yield "key and R of mixed order, only eightfold", *_find(mixed_key, mixed_r, secret, nonce, eightfold)
    yield "key of mixed order, only eightfold", *_find(mixed_key, r, secret, nonce, eightfold)
    yield "R of mixed order, only eightfold", *_find(key, mixed_r, secret, nonce, eightfold)


def _large_scalars(secret: int, nonce: int) -> Iterator[Case]:
    assert BASE is not None
    key, r = multiply(secret, BASE), multiply(nonce, BASE)
    public, message, signature = _find(key, r, secret, nonce, (True, True))
    s = int.from_bytes(signature[32:], "little")
    for multiple in (1, 2, 7):
        yield f"S + {multiple} L", public, message, signature[:32] + (s + multiple * L).to_bytes(32, "little")
    yield "S = L", public, message, signature[:32] + L.to_bytes(32, "little")
    yield "S with its highest bit set", public, message, signature[:63] + bytes([signature[63] | 0x80])
    for what, bad in (("not on the curve", bytes([2]) + bytes(31)), ("of all ones", b"\xff" * 32)):
        yield f"key {what}", bad, message, signature
        yield f"R {what}", public, message, bad + signature[32:]


def _encodings(secret: int, nonce: int) -> Iterator[Case]:
    """y + P where y fits too, and a sign on x = 0: the point is right, its encoding is not the one."""
    assert BASE is not None
    key, r = multiply(secret, BASE), multiply(nonce, BASE)
    sign = 1 << 255
    for what, value in (
        ("y = P + 1", P + 1),
        ("y = 1 with a sign", 1 | sign),
        ("y = P", P),
        ("y = P - 1 with a sign", P - 1 | sign),
    ):
        other = value.to_bytes(32, "little")
        point = recover(value % sign % P, 0)
        assert point is not None
        for count in range(1_000):
            message = b"chartledger non-canonical R %d" % count
            signature = other + (challenge(other, encode(key), message) * secret % L).to_bytes(32, "little")
            if equations(key, point, encode(key), signature, message)[1]:
                yield f"non-canonical R: {what}", encode(key), message, signature
                break
        for count in range(1_000):
            message = b"chartledger non-canonical key %d" % count
            signature = encode(r) + nonce.to_bytes(32, "little")
            if equations(point, r, other, signature, message)[1]:
                yield f"non-canonical key: {what}", other, message, signature
                break
