"""Members of requests that Chat Completions and Responses have under the same names."""

from __future__ import annotations

from typing import Any

from antiphon.engines.upstream.profiles import Profile
from antiphon.protocol.generation import Generation, Sampling


def asked_by(generation: Generation, profile: Profile) -> dict[str, Any]:
    """Members that both APIs have and only some servers take: the user, the tier, the key of the cache."""
    known = {
        "prompt_cache_key": (profile.prompt_cache_key, generation.affinity),
        "service_tier": (profile.tiers, generation.tier),
        "user": (profile.user, generation.user),
        "safety_identifier": (profile.safety_identifier, generation.safety_identifier),
    }
    return {name: value for name, (takes, value) in known.items() if takes and value is not None}


def drawn(sampling: Sampling, profile: Profile) -> dict[str, Any]:
    """How tokens are drawn, as far as both APIs say it in the same words.

    Models that think may refuse temperature and top_p, even where they say what holds anyway.
    """
    fields: dict[str, Any] = {}
    for name in ("temperature", "top_p"):
        value = getattr(sampling, name)
        if value is not None and not (profile.unit_defaults and value == 1):
            fields[name] = value
    for name in ("frequency_penalty", "presence_penalty"):
        if getattr(sampling, name):
            fields[name] = getattr(sampling, name)
    return fields
