"""A synthetic finger, with and without noise."""

from tests.helpers.drawn_prints import finger  # noqa: F401  a fixture
