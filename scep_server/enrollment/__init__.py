"""Takes a pkiMessage and where it came from. Gives the CertRep, or one of the three errors.

May touch the ledger, the CA and the RA key through their sockets, and challenge plugins behind their guard.
"""
