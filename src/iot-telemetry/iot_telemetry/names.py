"""What a node may be called."""

from typing import Final

NODE_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
"""A regular expression for all of it: one level of a topic, one word of a routing key (so without a dot), the first
part of a SenML name."""
NODE_NAME_WORDS: Final = "at most 64 letters, digits, _ and -, a letter or digit first; a dot is not allowed"
"""The same for an operator."""
