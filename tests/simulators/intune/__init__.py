"""A stand-in for Microsoft's side of Intune's third-party SCEP validation, written from the documented facts.

Takes: HTTPS on loopback from the client under test; the test's script, in process or through the control endpoint.
Gives: documented answers, scripted faults, a record of every call, and every deviation from the documented shape.
May touch: sockets on 127.0.0.1, and the folder it is given for its CA.

In process:

    async with IntuneSimulator() as intune:
        tenant = intune.add_tenant("contoso.onmicrosoft.com")
        app = intune.add_app(tenant, secret="s3cret")
        challenge = intune.new_challenge(tenant, subject="CN=device-1")
        intune.fail("validateRequest", Fault.throttled())
        ...  # point the client at intune.urls, trusting intune.ca_pem
        assert intune.violations == []

As a process: `python -m tests.simulators.intune --port 0 --state DIR`, or RemoteSimulator, which starts it.
"""

from __future__ import annotations

from tests.simulators.intune.challenges import DeviceChallenge
from tests.simulators.intune.checks import FACTS
from tests.simulators.intune.checks.scep import mismatches
from tests.simulators.intune.codes import OPERATIONS, REVOCATION_ERRORS, VALIDATION_CODES
from tests.simulators.intune.directory import App, Tenant
from tests.simulators.intune.faults import Fault, Planned
from tests.simulators.intune.recorder import Call
from tests.simulators.intune.remote import RemoteSimulator
from tests.simulators.intune.revocations import RevocationRequest
from tests.simulators.intune.simulator import IntuneSimulator, Urls

__all__ = [
    "FACTS",
    "OPERATIONS",
    "REVOCATION_ERRORS",
    "VALIDATION_CODES",
    "App",
    "Call",
    "DeviceChallenge",
    "Fault",
    "IntuneSimulator",
    "Planned",
    "RemoteSimulator",
    "RevocationRequest",
    "Tenant",
    "Urls",
    "mismatches",
]
