"""Says at the end of every run, green or red, which seed the fresh histories began with."""

import pytest

BASE = pytest.StashKey[list[str]]()


def pytest_configure(config):
    config.stash.setdefault(BASE, [])


@pytest.fixture
def say_at_the_end(request):
    """A function: what it is told stands in the run's summary."""
    return request.config.stash.setdefault(BASE, []).append


def pytest_terminal_summary(terminalreporter, config):
    lines = config.stash.get(BASE, [])
    if lines:
        terminalreporter.section("simulation")
        for line in lines:
            terminalreporter.write_line(line)
