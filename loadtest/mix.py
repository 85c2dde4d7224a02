"""Knows how often each kind of call is sent.

It refuses to know what the kinds ask.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ilk.errors import SettingsError
from loadtest.kinds import KINDS
from loadtest.world import World

Mix: TypeAlias = Mapping[str, float]

# What a service that shows films asks for: mostly likeness and recommendations, a little of all else.
DEFAULT_MIX: Mix = {
    "item": 28,
    "user": 20,
    "hybrid": 10,
    "profile": 8,
    "filtered": 7,
    "stream": 6,
    "examples": 4,
    "audience": 3,
    "peers": 2,
    "text": 3,
    "predict": 3,
    "batch": 2,
    "titles": 2,
    "items": 2,
}


def parse_mix(text: str) -> Mix:
    """Return the mix that ``item=3,user=1`` describes.

    Raises
    ------
    SettingsError
        If a kind is unknown or a weight is not a number above zero.
    """
    mix: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, told = part.partition("=")
        try:
            mix[name.strip()] = float(told or "1")
        except ValueError as error:
            raise SettingsError(f"--mix: {part!r} is not a kind, '=' and a number") from error
    unknown = [name for name in mix if name not in KINDS]
    if unknown or not mix:
        problem = f"unknown {', '.join(unknown)}" if unknown else "is empty"
        raise SettingsError(f"--mix: {problem}; kinds are {', '.join(KINDS)}")
    for name, weight in mix.items():
        if not 0 < weight < math.inf:
            raise SettingsError(f"--mix: {name}={weight:g} must be above zero")
    return mix


def possible(mix: Mix, world: World) -> tuple[Mix, list[str]]:
    """Return the part of a mix that can be asked of a world, and the kinds left out.

    Raises
    ------
    SettingsError
        If nothing is left.
    """
    kept = {name: weight for name, weight in mix.items() if KINDS[name].possible(world)}
    left_out = [name for name in mix if name not in kept]
    if not kept:
        raise SettingsError(f"--mix: {why_left_out(left_out, world)}; name other kinds")
    return kept, left_out


def why_left_out(kinds: Sequence[str], world: World) -> str:
    """Return in words why kinds cannot be asked of a world: what is withheld, or not there."""
    told = dataclasses.replace(world, users=("somebody",))
    withheld = [name for name in kinds if world.users_withheld and KINDS[name].possible(told)]
    missing = [name for name in kinds if name not in withheld]
    reasons = [f"{world.users_withheld} (for {', '.join(withheld)})"] if withheld else []
    if missing:
        reasons.append(f"the server's bundle has no data for {', '.join(missing)}")
    return "; ".join(reasons)
