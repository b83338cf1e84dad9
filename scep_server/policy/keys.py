"""Weak keys are refused before they are certified (N14).

RSA: 2048 to 4096 bits and e = 65537 (N9); an odd modulus without a factor below 752; no ROCA fingerprint
(CVE-2017-15361, Nemec et al., "The Return of Coppersmith's Attack", CCS 2017); not two primes so close that Fermat's
method splits it within FERMAT_ROUNDS steps (CVE-2022-26320). EC: the named curves P-256, P-384 and P-521;
`cryptography` has refused points off the curve and at infinity when the request was read. Any: not a key of this CA.

Not tested: the keys of Debian's broken generator of 2008 (CVE-2008-0166), for which a list would have to be shipped,
and primes shared with other keys, which is a job over the whole ledger.

Everything is arranged so that a good key costs little: one reduction modulo a product of small numbers replaces many
divisions of a large one.
"""

from __future__ import annotations

import hashlib
import math
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scep_server.errors import Reason, Refusal
from scep_server.types import PublicKey

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 4096
RSA_EXPONENT: Final = 65537
CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
FERMAT_ROUNDS: Final = 128


def check_key(public_key: PublicKey, spki: bytes, forbidden: frozenset[bytes]) -> None:
    """Refusal with Reason.KEY when this key must not be certified.

    spki: the SubjectPublicKeyInfo that public_key was read from. forbidden: SHA-256 of the SubjectPublicKeyInfo of
    each key of the CA and the RA.
    """
    if _is_forbidden(public_key, spki, forbidden):
        raise Refusal(Reason.KEY, "the key is one of this CA's own", security=True)
    if isinstance(public_key, rsa.RSAPublicKey):
        numbers = public_key.public_numbers()
        _check_rsa(numbers.n, numbers.e)
    elif not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise Refusal(Reason.KEY, f"key type {type(public_key).__name__}")
    elif not isinstance(public_key.curve, CURVES):
        raise Refusal(Reason.KEY, f"curve {public_key.curve.name}")


def _is_forbidden(public_key: PublicKey, spki: bytes, forbidden: frozenset[bytes]) -> bool:
    if hashlib.sha256(spki).digest() in forbidden:
        return True
    # A key can be written in several ways (compressed point, absent NULL), so its usual form is looked up as well.
    usual = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return usual != spki and hashlib.sha256(usual).digest() in forbidden


def _check_rsa(n: int, e: int) -> None:
    bits = n.bit_length()
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise Refusal(Reason.KEY, f"RSA key of {bits} bits, {MIN_RSA_BITS} to {MAX_RSA_BITS} are allowed")
    if e != RSA_EXPONENT:
        raise Refusal(Reason.KEY, f"RSA public exponent other than {RSA_EXPONENT}")
    if math.gcd(n, _SMALL_PRIMES_PRODUCT) != 1:
        raise Refusal(Reason.KEY, "RSA modulus has a small factor")
    if has_roca_fingerprint(n):
        raise Refusal(Reason.KEY, "RSA modulus has the ROCA fingerprint (CVE-2017-15361)")
    if has_close_primes(n):
        raise Refusal(Reason.KEY, "RSA primes are too close to each other (CVE-2022-26320)")


# --- small factors ----------------------------------------------------------------------------------------------------


def _primes_below(limit: int) -> list[int]:
    return [n for n in range(2, limit) if all(n % d for d in range(2, math.isqrt(n) + 1))]


_SMALL_PRIMES_PRODUCT: Final = math.prod(_primes_below(752))

# --- ROCA -------------------------------------------------------------------------------------------------------------


def _logarithms(prime: int) -> dict[int, int]:
    """Powers of 65537 modulo a prime, each with its exponent."""
    powers: dict[int, int] = {}
    power = 1
    while power not in powers:
        powers[power] = len(powers)
        power = power * RSA_EXPONENT % prime
    return powers


# The affected library made primes of the form k * M + (65537**a mod M), M a product of the first primes; the smallest
# key sizes use the first 39. So the modulus, too, is a power of 65537 modulo M, which a random one almost never is.
# Primes whose subgroup is smallest come first: they end the test of a good key after one or two look-ups.
_ROCA_PRIMES: Final = _primes_below(168)[1:]
_ROCA_PRODUCT: Final = math.prod(_ROCA_PRIMES)
_ROCA_LOGARITHMS: Final = sorted(
    ((prime, _logarithms(prime)) for prime in _ROCA_PRIMES), key=lambda entry: len(entry[1]) / (entry[0] - 1)
)


def has_roca_fingerprint(n: int) -> bool:
    """Whether n is a power of 65537 modulo the product of the first primes.

    A discrete logarithm modulo each prime; they must belong to one exponent (Chinese remainder theorem, the orders
    not being coprime). A random modulus passes by chance about once in 2**154.
    """
    residue = n % _ROCA_PRODUCT
    exponent, order = 0, 1
    for prime, logarithms in _ROCA_LOGARITHMS:
        logarithm = logarithms.get(residue % prime)
        if logarithm is None:
            return False
        common = math.gcd(order, len(logarithms))
        if (logarithm - exponent) % common:
            return False
        step = (logarithm - exponent) // common * pow(order // common, -1, len(logarithms) // common)
        exponent += order * (step % (len(logarithms) // common))
        order *= len(logarithms) // common
    return True


# --- Fermat -----------------------------------------------------------------------------------------------------------


def _square_rounds(modulus: int) -> list[int]:
    """For each value of n modulo `modulus`: bit i is set when i*i - n may be a square."""
    squares = {i * i % modulus for i in range(modulus)}
    return [
        sum(1 << i for i in range(modulus + FERMAT_ROUNDS) if (i * i - n) % modulus in squares) for n in range(modulus)
    ]


_FILTERS: Final = [(modulus, _square_rounds(modulus)) for modulus in (64, 63, 65, 11, 17, 19, 23, 29, 31)]
_FILTER_PRODUCT: Final = math.prod(modulus for modulus, _ in _FILTERS)
_ALL_ROUNDS: Final = (1 << FERMAT_ROUNDS) - 1


def has_close_primes(n: int) -> bool:
    """Whether n = a*a - b*b for one of the first FERMAT_ROUNDS values of a from the square root of n upwards.

    The residues of a*a - n modulo small numbers tell for all rounds at once which may be squares at all (three in ten
    thousand); only those cost a square root.
    """
    root = math.isqrt(n)
    start = root if root * root == n else root + 1
    small_n, small_start = n % _FILTER_PRODUCT, start % _FILTER_PRODUCT
    rounds = _ALL_ROUNDS
    for modulus, table in _FILTERS:
        rounds &= table[small_n % modulus] >> (small_start % modulus)
    while rounds:
        lowest = rounds & -rounds
        difference = (start + lowest.bit_length() - 1) ** 2 - n
        if math.isqrt(difference) ** 2 == difference:
            return True
        rounds ^= lowest
    return False
