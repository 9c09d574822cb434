"""Profiles of hypothesis: what `pytest` does by default is quick; `--hypothesis-profile=thorough` takes its time."""

from hypothesis import settings

settings.register_profile("thorough", max_examples=60, stateful_step_count=50, print_blob=True)
