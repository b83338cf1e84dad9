"""Wires the road of one request (enrollment/service.py) from a site's parts."""

from __future__ import annotations

from scep_server.assembly.site import Site, utc_now
from scep_server.codec import recipient_ids
from scep_server.enrollment.answers import Answers
from scep_server.enrollment.queries import CrlSource
from scep_server.enrollment.reading import Reader
from scep_server.enrollment.refusals import Refusals
from scep_server.enrollment.service import Enrollment


def build_road(site: Site, refusals: Refusals, crls: CrlSource) -> Enrollment:
    """What the public listener asks. Loads the CA when the site has not yet; raises ConfigurationError then."""
    ca = site.ca
    reader = Reader(
        ra=ca.ra_key,
        recipients=recipient_ids(ca.ra_key.certificate.der),
        authority=ca.authority,
        ledger=site.ledger,
        clock=utc_now,
        forbidden_keys=ca.forbidden_keys,
        forbidden_subjects=ca.forbidden_subjects,
    )
    return Enrollment(
        registry=site.registry,
        reader=reader,
        answers=Answers(ca.ra_key, ca.certificates.chain, site.metrics),
        issuing=site.issuing,
        refusals=refusals,
        stored=site.stored,
        ledger=site.ledger,
        challenges=site.challenges,
        authority=ca.authority,
        crls=crls,
        crl_shards=ca.authority.crl_shards,
        scep_certificates=ca.scep_certificates,
        metrics=site.metrics,
        offload=site.offload,
        clock=utc_now,
    )
