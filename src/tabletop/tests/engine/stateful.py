"""How long the state machines run: a few seconds, the same steps each time; or as the profile `thorough` says."""

from typing import Any

from hypothesis import HealthCheck, Phase, settings

THOROUGH = settings.get_current_profile_name() == "thorough"
# Examples take seconds and real hooks race: a shrunk example is rarely the same failure.
_COMMON: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "phases": (Phase.explicit, Phase.reuse, Phase.generate),
    "report_multiple_bugs": False,
}


def stateful(quick_examples: int, quick_steps: int, *, share: int = 1) -> settings:
    """Return the settings of a state machine.

    Args:
        quick_examples: how many histories by default.
        quick_steps: how many steps each.
        share: the thorough profile's examples are divided by it.
    """
    if THOROUGH:
        return settings(max_examples=settings().max_examples // share, **_COMMON)
    return settings(max_examples=quick_examples, stateful_step_count=quick_steps, derandomize=True, **_COMMON)
