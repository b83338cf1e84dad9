"""Takes: a challenge plugin's factory, and what its author says about right and wrong challenges.
Gives: PluginContract, the tests that every plugin must pass; attempts, certificates and a whole house for other tests.
May touch: temporary folders. Nothing of the server imports this package; it works with pytest and needs nothing of it.
"""

from scep_server.testing.attempts import make_attempt, make_certificate
from scep_server.testing.contract import PluginContract
from scep_server.testing.house import HouseUnderTest, TurnedClock, house, open_house
from scep_server.testing.trial import Surroundings, Trial

__all__ = [
    "HouseUnderTest",
    "PluginContract",
    "Surroundings",
    "Trial",
    "TurnedClock",
    "house",
    "make_attempt",
    "make_certificate",
    "open_house",
]
