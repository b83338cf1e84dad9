"""A standalone SCEP (RFC 8894) certificate authority for managed devices."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("scep-server")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
