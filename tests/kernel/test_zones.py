"""Zones by name, also where a system has no data of any; and the zone a machine is set to."""

from __future__ import annotations

import importlib.abc
import sys
import zoneinfo
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest

from claude_mem.app.machine_zone import machine_zone
from claude_mem.kernel import zones

WRONG = ["", "Berlin", "Europe", "UTC+2", "../UTC", "/etc/localtime", "Europe/Berlin\n", "a" * 65]


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "Pacific/Kiritimati", "Etc/GMT+5"])
def test_zones_that_there_are(name: str) -> None:
    assert zones.fault(name) == ""
    assert str(zones.zone(name)) == name


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_zone_is_said_and_counted_as_utc(name: str) -> None:
    assert "IANA name" in zones.fault(name)
    assert zones.zone(name) is UTC


class _NoTzdata(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == "tzdata":
            raise ModuleNotFoundError(name)


@pytest.fixture
def _no_data(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A system without zone data, in its folders and as a package."""
    monkeypatch.setattr(sys, "meta_path", [_NoTzdata(), *sys.meta_path])
    for name in [it for it in sys.modules if it.partition(".")[0] == "tzdata"]:
        monkeypatch.delitem(sys.modules, name)
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=[])
    zoneinfo.ZoneInfo.clear_cache()
    zones.zone.cache_clear()
    yield
    zoneinfo.reset_tzpath(to=before)
    zoneinfo.ZoneInfo.clear_cache()
    zones.zone.cache_clear()


@pytest.mark.usefixtures("_no_data")
def test_without_zone_data_only_utc_is_known_and_the_way_out_is_said() -> None:
    assert zones.fault("UTC") == ""
    assert "install the package tzdata" in zones.fault("Europe/Berlin")
    assert zones.zone("Europe/Berlin") is UTC
    assert machine_zone({"TZ": "Europe/Berlin"}) == "UTC"


# -- of the machine ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "zone"),
    [
        ("Asia/Tokyo", "Asia/Tokyo"),
        (":Asia/Tokyo", "Asia/Tokyo"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "UTC"),
        ("nowhere", "UTC"),
    ],
)
def test_what_the_environment_says_comes_first(tmp_path: Path, said: str, zone: str) -> None:
    named = tmp_path / "timezone"
    named.write_text("Europe/Berlin\n")
    assert machine_zone({"TZ": said}, tmp_path / "none", named) == zone


def test_then_what_the_system_is_set_to(tmp_path: Path) -> None:
    file = tmp_path / "zoneinfo" / "America" / "Argentina" / "Ushuaia"
    file.parent.mkdir(parents=True)
    file.touch()
    link, named = tmp_path / "localtime", tmp_path / "timezone"
    link.symlink_to(file)
    named.write_text("Europe/Berlin\n")
    assert machine_zone({}, link, named) == "America/Argentina/Ushuaia"
    assert machine_zone({"TZ": ""}, tmp_path / "none", named) == "Europe/Berlin"


def test_a_system_that_names_none_is_utc(tmp_path: Path) -> None:
    itself, named = tmp_path / "localtime", tmp_path / "timezone"
    itself.symlink_to(itself)
    named.write_bytes(b"\xff\xfe")
    assert machine_zone({}, itself, named) == "UTC"
    assert machine_zone({}, tmp_path / "none", tmp_path / "none") == "UTC"
    copied = tmp_path / "copied"
    copied.write_bytes(b"TZif2")  # a copy, as some containers have: it has no name
    assert machine_zone({}, copied, tmp_path / "none") == "UTC"
