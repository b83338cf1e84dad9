"""Taking over an existing CA: what is accepted, what is refused, and that a refusal writes nothing."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from scep_server.ca import import_pem, import_pkcs12, load_ca, read_ca_certificates
from scep_server.ca.identities import Identity, make_root, signature_hash
from scep_server.ca.templates import key_usage
from scep_server.errors import ConfigurationError
from tests.ca.ca_orders import NOW, PASSPHRASE, PUBLIC_URL, clock, device_order, issue

EC_KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ROOT = make_root(EC_KEYS[0], "Old Root", NOW, 3650)
CA_BITS = {"key_cert_sign": True, "crl_sign": True}
SCEP_BITS = CA_BITS | {"digital_signature": True, "key_encipherment": True}


def subordinate(issuer, key, common_name, *, ca=True, usage=CA_BITS, begin=NOW - timedelta(days=1), days=1000):
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin.replace(microsecond=0))
        .not_valid_after(begin.replace(microsecond=0) + timedelta(days=days))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if usage is not None:
        builder = builder.add_extension(key_usage(**usage), critical=True)
    return Identity(builder.sign(issuer.key, signature_hash(issuer.key)), key)


@pytest.fixture
def files(tmp_path):
    """Writes a key (plain, 0600) and certificates as PEM."""

    def write(identity, *above, passphrase=None):
        encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
        key, chain = tmp_path / "old.key", tmp_path / "old.pem"
        key.write_bytes(identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        key.chmod(0o600)
        certificates = (identity, *above)
        chain.write_bytes(b"".join(one.certificate.public_bytes(Encoding.PEM) for one in certificates))
        return {"key_file": key, "key_passphrase": passphrase, "chain_files": [chain], "clock": clock}

    return write


def test_pem_chain_of_any_length_and_order(tmp_path, files):
    middle = subordinate(ROOT, EC_KEYS[1], "Middle")
    issuing = subordinate(middle, EC_KEYS[2], "Issuing")
    given = files(issuing, ROOT, middle, passphrase=b"the old passphrase")
    import_pem(tmp_path / "ca", PASSPHRASE, **given)
    ca = load_ca(tmp_path / "ca", PASSPHRASE, PUBLIC_URL, clock=clock)
    assert list(ca.certificates.chain) == [
        one.certificate.public_bytes(Encoding.DER) for one in (issuing, middle, ROOT)
    ]
    assert len(ca.scep_certificates) == 4
    certificate = x509.load_der_x509_certificate(issue(ca.authority, device_order()).der)
    certificate.verify_directly_issued_by(issuing.certificate)
    assert not (tmp_path / "ca" / "root.key.pem").exists()


def test_self_signed_ca(tmp_path, files):
    import_pem(tmp_path / "ca", PASSPHRASE, **files(ROOT))
    certificates = read_ca_certificates(tmp_path / "ca")
    assert len(certificates.chain) == 1
    assert len(certificates.scep) == 2


@pytest.mark.parametrize("file_passphrase", [None, b"the old passphrase"])
def test_pkcs12(tmp_path, file_passphrase):
    issuing = subordinate(ROOT, RSA_KEY, "Issuing")
    encryption = NoEncryption() if file_passphrase is None else BestAvailableEncryption(file_passphrase)
    file = tmp_path / "old.p12"
    file.write_bytes(
        pkcs12.serialize_key_and_certificates(b"ca", RSA_KEY, issuing.certificate, [ROOT.certificate], encryption)
    )
    file.chmod(0o600)
    given = {"file": file, "file_passphrase": file_passphrase, "clock": clock}
    import_pkcs12(tmp_path / "ca", PASSPHRASE, **given)
    assert load_ca(tmp_path / "ca", PASSPHRASE, PUBLIC_URL).scep_certificates[1:] == (
        issuing.certificate.public_bytes(Encoding.DER),
        ROOT.certificate.public_bytes(Encoding.DER),
    )
    with pytest.raises(ConfigurationError, match="passphrase is wrong"):
        import_pkcs12(tmp_path / "other", PASSPHRASE, **(given | {"file_passphrase": b"wrong"}))
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        import_pkcs12(tmp_path / "other", PASSPHRASE, **given)


def test_ca_as_scep_identity_needs_an_rsa_key_and_all_four_bits(tmp_path, files):
    good = subordinate(ROOT, RSA_KEY, "Issuing", usage=SCEP_BITS)
    import_pem(tmp_path / "ca", PASSPHRASE, scep_identity="ca", **files(good, ROOT))
    ca = load_ca(tmp_path / "ca", PASSPHRASE, PUBLIC_URL)
    assert ca.scep_certificates == (good.certificate.public_bytes(Encoding.DER),)
    for bad, text in (
        (subordinate(ROOT, RSA_KEY, "Issuing"), "lacks digitalSignature and keyEncipherment"),
        (subordinate(ROOT, RSA_KEY, "I", usage=CA_BITS | {"digital_signature": True}), "lacks digitalSignature"),
        (subordinate(ROOT, EC_KEYS[1], "Issuing", usage=SCEP_BITS), "no RSA key"),
    ):
        with pytest.raises(ConfigurationError, match=text):
            import_pem(tmp_path / "other", PASSPHRASE, scep_identity="ca", **files(bad, ROOT))
        assert not (tmp_path / "other").exists()


def refused():
    stranger = make_root(EC_KEYS[1], "Old Root", NOW, 3650)
    good = subordinate(ROOT, EC_KEYS[2], "Issuing")
    yield "foreign key", Identity(good.certificate, EC_KEYS[1]), [ROOT], "belongs to none"
    yield "no root", good, [], "no root"
    yield "another root of the same name", good, [stranger], "no root"
    yield "no CA", subordinate(ROOT, EC_KEYS[2], "I", ca=False), [ROOT], "no CA certificate"
    yield "constraints missing", subordinate(ROOT, EC_KEYS[2], "I", ca=None), [ROOT], "no CA certificate"
    yield "usage missing", subordinate(ROOT, EC_KEYS[2], "I", usage=None), [ROOT], "keyCertSign and cRLSign"
    for bit in CA_BITS:
        yield f"only {bit}", subordinate(ROOT, EC_KEYS[2], "I", usage={bit: True}), [ROOT], "keyCertSign and cRLSign"
    expired = subordinate(ROOT, EC_KEYS[2], "I", begin=NOW - timedelta(days=30), days=29)
    yield "expired", expired, [ROOT], "ended on"
    yield "not yet valid", subordinate(ROOT, EC_KEYS[2], "I", begin=NOW + timedelta(days=2)), [ROOT], "begins on"
    leaf = subordinate(ROOT, EC_KEYS[1], "Leaf", ca=False)
    yield "issued by no CA", subordinate(leaf, EC_KEYS[2], "I"), [leaf, ROOT], "no CA certificate"


@pytest.mark.parametrize(
    ("identity", "above", "text"), [case[1:] for case in refused()], ids=[case[0] for case in refused()]
)
def test_refuses_and_writes_nothing(tmp_path, files, identity, above, text):
    with pytest.raises(ConfigurationError, match=text):
        import_pem(tmp_path / "ca", PASSPHRASE, **files(identity, *above))
    assert not (tmp_path / "ca").exists()


def test_refuses_an_open_key_file_and_a_missing_passphrase(tmp_path, files):
    given = files(ROOT, passphrase=b"the old passphrase")
    with pytest.raises(ConfigurationError, match="no passphrase was given"):
        import_pem(tmp_path / "ca", PASSPHRASE, **(given | {"key_passphrase": None}))
    given["key_file"].chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        import_pem(tmp_path / "ca", PASSPHRASE, **given)


def test_refuses_to_overwrite(tmp_path, files):
    given = files(ROOT)
    import_pem(tmp_path / "ca", PASSPHRASE, **given)
    with pytest.raises(ConfigurationError, match="never overwritten"):
        import_pem(tmp_path / "ca", PASSPHRASE, **given)
