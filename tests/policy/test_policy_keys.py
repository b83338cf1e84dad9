"""Weak keys, one of each kind (N14, N9), and what a good key costs."""

from __future__ import annotations

import hashlib
import math
import random
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from scep_server.errors import Reason, Refusal
from scep_server.policy.keys import FERMAT_ROUNDS, check_key, has_close_primes, has_roca_fingerprint
from tests.e2e.identities import ec_key, rsa_key, spki

NOBODY: frozenset[bytes] = frozenset()
ROCA_PRIMES = [p for p in range(3, 168) if all(p % d for d in range(2, math.isqrt(p) + 1))]


def check(key: object, forbidden: frozenset[bytes] = NOBODY) -> None:
    public = getattr(key, "public_key", lambda: key)()
    check_key(public, spki(public), forbidden)


def rsa_public(n: int, e: int = 65537) -> rsa.RSAPublicKey:
    return rsa.RSAPublicNumbers(e, n).public_key()


def refusal_detail(key: object, forbidden: frozenset[bytes] = NOBODY) -> str:
    with pytest.raises(Refusal) as refused:
        check(key, forbidden)
    assert refused.value.reason is Reason.KEY
    return refused.value.detail


def is_prime(n: int) -> bool:
    """Miller-Rabin, enough for tests."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17):
        x = pow(base, odd, n)
        if x not in {1, n - 1} and not any((x := x * x % n) == n - 1 for _ in range(twos - 1)):
            return False
    return True


def next_prime(n: int) -> int:
    n |= 1
    while not (math.gcd(n, math.prod(ROCA_PRIMES)) == 1 and is_prime(n)):
        n += 2
    return n


def roca_modulus(seed: int) -> int:
    """A modulus as the affected library made them: both primes k * M + 65537**a mod M."""
    source = random.Random(seed)
    modulus = math.prod([2, *ROCA_PRIMES])
    primes: list[int] = []
    lowest = (3 << 1022) // modulus + 1
    while len(primes) < 2:
        power = pow(65537, source.getrandbits(256), modulus)
        candidate = (lowest + source.getrandbits(790)) * modulus + power
        if is_prime(candidate):
            primes.append(candidate)
    return primes[0] * primes[1]


@pytest.mark.parametrize("number", range(4))
def test_good_rsa_keys_pass(number):
    check(rsa_key(number))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_named_curves_pass(curve):
    check(ec.generate_private_key(curve))


def test_sizes():
    assert "1024 bits" in refusal_detail(rsa.generate_private_key(65537, 1024))
    n = rsa_key().public_key().public_numbers().n
    assert "2047 bits" in refusal_detail(rsa_public((n >> 1) | 1))
    assert "4097 bits" in refusal_detail(rsa_public((1 << 4096) + 1))


@pytest.mark.parametrize("exponent", [3, 17, 65539, (1 << 32) + 15])
def test_exponents(exponent):
    assert "exponent" in refusal_detail(rsa_public(rsa_key().public_key().public_numbers().n, exponent))


@pytest.mark.parametrize("factor", [2, 3, 5, 97, 743, 751])
def test_small_factors(factor):
    n = rsa_key().public_key().public_numbers().n // factor * factor
    assert "small factor" in refusal_detail(rsa_public(n))


def test_roca():
    n = roca_modulus(1)
    assert has_roca_fingerprint(n)
    assert "ROCA" in refusal_detail(rsa_public(n))
    assert not any(has_roca_fingerprint(rsa_key(number).public_key().public_numbers().n) for number in range(4))


def test_roca_needs_one_exponent_for_all_primes():
    """A number that is a power of 65537 modulo every prime, but of different exponents, is no fingerprint."""
    residues = [pow(65537, exponent, prime) for exponent, prime in enumerate(ROCA_PRIMES)]
    product = math.prod(ROCA_PRIMES)
    n = sum(r * (product // p) * pow(product // p, -1, p) for r, p in zip(residues, ROCA_PRIMES, strict=True)) % product
    assert [n % prime for prime in ROCA_PRIMES] == residues
    assert not has_roca_fingerprint(n)


def test_close_primes():
    p = next_prime(3 << 1022 | random.Random(5).getrandbits(1000))
    q = next_prime(p + 2)
    assert "close" in refusal_detail(rsa_public(p * q))
    assert "close" in refusal_detail(rsa_public(p * p))


@pytest.mark.parametrize("rounds", [0, 1, 63, 64, 99, FERMAT_ROUNDS - 1])
def test_every_round_of_fermat_is_done(rounds):
    """n = a*a - b*b where `a` is this many steps above the root; the last step but one beyond them is not seen."""
    root = random.Random(rounds).getrandbits(1024) | 1 << 1023
    b = math.isqrt((2 * root - 1) * rounds) + (1 if rounds else 0)
    a = root + rounds
    n = a * a - b * b
    start = math.isqrt(n) + (math.isqrt(n) ** 2 != n)
    assert 0 <= a - start < FERMAT_ROUNDS
    assert has_close_primes(n)


def test_fermat_agrees_with_the_plain_method():
    """Small moduli, against the method written out."""
    source = random.Random(7)
    for _ in range(300):
        n = source.getrandbits(24) | 1 << 23 | 1
        start = math.isqrt(n) + (math.isqrt(n) ** 2 != n)
        plain = any(math.isqrt(d) ** 2 == d for d in ((start + i) ** 2 - n for i in range(FERMAT_ROUNDS)))
        assert has_close_primes(n) == plain


def test_keys_of_the_ca_are_refused_in_every_encoding():
    forbidden = frozenset({hashlib.sha256(spki(rsa_key())).digest(), hashlib.sha256(spki(ec_key())).digest()})
    assert "CA's own" in refusal_detail(rsa_key(), forbidden)
    assert "CA's own" in refusal_detail(ec_key(), forbidden)
    point = ec_key().public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    usual = spki(ec_key())
    compressed = b"\x30\x39" + usual[2:23] + b"\x03\x22\x00" + point
    public = load_der_public_key(compressed)
    with pytest.raises(Refusal) as refused:
        check_key(public, compressed, forbidden)
    assert refused.value.security
    check(rsa_key(1), forbidden)


def test_other_key_types_and_curves():
    assert "Ed25519" in refusal_detail(ed25519.Ed25519PrivateKey.generate())
    assert "secp256k1" in refusal_detail(ec.generate_private_key(ec.SECP256K1()))


def test_a_good_key_is_cheap():
    """Target 60 microseconds on an idle machine; the bound leaves room for a slow and busy one."""
    keys = [(rsa_key(number).public_key(), spki(rsa_key(number))) for number in range(4)]
    best = min(_cpu_seconds(keys) for _ in range(5))
    assert best < 300e-6


def _cpu_seconds(keys: list[tuple[rsa.RSAPublicKey, bytes]]) -> float:
    began = time.process_time()
    for _ in range(50):
        for public, der in keys:
            check_key(public, der, NOBODY)
    return (time.process_time() - began) / 50 / len(keys)
