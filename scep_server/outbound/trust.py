"""Whom we believe: the operating system's certification authorities, and the operator's own beside them."""

from __future__ import annotations

import ssl
from pathlib import Path

from oscrypto import trust_list
from oscrypto.errors import CACertsError

from scep_server.errors import ConfigurationError, OutboundFault


def check_ca_file(path: Path) -> None:
    """ConfigurationError when the file holds no certificates that can be used."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        cause = "no PEM certificates in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(
            f"outbound.ca_file: cannot use {path} ({cause}); name a PEM file with certificates of authorities"
        ) from None


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """TLS 1.2 and up with names verified. Blocking: reads files. OutboundFault when there is nobody to trust.

    SSL_CERT_FILE, where it is set, takes the place of the operating system's file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Only trust_list is imported of oscrypto: the rest stops at the version strings of OpenSSL 3.0.10 and later.
        context.load_verify_locations(trust_list.get_path())
        if ca_file is not None:
            context.load_verify_locations(ca_file)
    except (OSError, CACertsError) as error:
        if ca_file is None:
            raise OutboundFault(
                "tls",
                f"the operating system's certification authorities cannot be read ({type(error).__name__}); "
                "install ca-certificates, or set outbound.ca_file",
            ) from None
        context.load_verify_locations(ca_file)
    return context
