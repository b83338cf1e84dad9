"""Takes: the address of a Redis, values of types.py.
Gives: RedisChallenges (interfaces.Challenges): unspent one-time challenges where several machines find them.
May touch: that Redis. It never decides alone whether a challenge is spent: the ledger does.
"""

from scep_server.cache.breaker import Breaker
from scep_server.cache.challenges import RedisChallenges
from scep_server.cache.connection import connect
from scep_server.cache.server import RedisServer

__all__ = ["Breaker", "RedisChallenges", "RedisServer", "connect"]
