"""The tests that every challenge plugin must pass, for its author's own test suite.

    class TestVoucher(PluginContract):
        plugin = "voucher"  # the entry point
        factory = PLUGIN
        options = {"inventory_url": "https://inventory.example/"}

Each test makes an integration of its own in a house of its own (testing.house) and calls the plugin as the server does,
guarded. What the plugin has no ability for is skipped, and says so. pytest runs it; nothing of pytest is needed here.
"""

from __future__ import annotations

from scep_server.testing.ability_tests import AbilityContract
from scep_server.testing.judging_tests import JudgingContract
from scep_server.testing.settings_tests import SettingsContract


class PluginContract(SettingsContract, JudgingContract, AbilityContract):
    """Subclass it as TestSomething; suite.Suite has what the subclass may say."""
