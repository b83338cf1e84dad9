"""Takes: the address of a Redis, values of types.py.
Gives: RedisChallenges, which keeps unspent one-time challenges where several machines find them (interfaces.Challenges).
May touch: that Redis. It never decides alone whether a challenge is spent: the ledger does.
"""
