"""SCEP messages: bytes in, values out, and back.

Takes: DER or BER as devices send it, values of scep_server.types, content keys and randomness as arguments.
Gives: verified requests, replies to be signed, Malformed for what cannot be answered and Refusal for what is refused.
May touch: nothing. No private key, no clock, no I/O, no randomness of its own.
"""
