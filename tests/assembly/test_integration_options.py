"""`--option key=value`: what is understood, and what a mistake is answered with."""

from __future__ import annotations

import dataclasses

import pytest

from scep_server.assembly.options import PARSERS, options_record, parse_options, refuse_options
from scep_server.errors import ConfigurationError
from scep_server.types import IntegrationOptions

DEFAULT = IntegrationOptions()


def test_every_option_can_be_written() -> None:
    assert set(PARSERS) == {field.name for field in dataclasses.fields(IntegrationOptions)}


def test_written_options_replace_only_themselves() -> None:
    options = parse_options(DEFAULT, {"renewal": "on", "san_types": "dns, upn", "signing_time_window": "3600"})
    assert options == dataclasses.replace(
        DEFAULT, renewal=True, san_types=frozenset({"dns", "upn"}), signing_time_window=3600
    )
    assert parse_options(options, {"signing_time_window": "off"}).signing_time_window is None
    assert parse_options(options, {"san_types": "none"}).san_types == frozenset()


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("renewel", "on", "renewal"),
        ("renewal", "perhaps", "on or off"),
        ("approval", "sometimes", "auto, manual"),
        ("lifetime_days", "0", "from 1"),
        ("lifetime_days", "-5", "from 1"),
        ("lifetime_days", "ten", "whole number"),
        ("san_types", "dns,carrier", "carrier"),
    ],
)
def test_mistakes_name_the_remedy(key: str, value: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        parse_options(DEFAULT, {key: value})


def test_what_stands_in_the_wrong_place_is_told_the_right_one() -> None:
    settings = frozenset({"lifetime_minutes", "renewal"})
    with pytest.raises(ConfigurationError, match="a setting of the plugin: use --setting lifetime_minutes="):
        parse_options(DEFAULT, {"lifetime_minutes": "5"}, settings)
    assert parse_options(DEFAULT, {"renewal": "on"}, settings).renewal
    with pytest.raises(ConfigurationError, match="an option of the integration: use --option lifetime_days="):
        refuse_options({"lifetime_days"}, settings)
    refuse_options({"renewal"}, settings)
    refuse_options({"no_such"}, settings)
    refuse_options({"lifetime_days"}, frozenset())


def test_record_is_json_and_stable() -> None:
    assert options_record(DEFAULT)["san_types"] == ["dns", "email", "uri"]
