"""Settings of the tests that feed readers with random files."""

import os

from hypothesis import HealthCheck, settings


def fuzz_settings():
    """Return hypothesis' settings: 200 fixed examples, or as many new ones as requested.

    ``BAM_MM_FUZZ_EXAMPLES=50000 pytest tests -k fuzz`` searches longer, with other examples each
    time.
    """
    requested = os.environ.get("BAM_MM_FUZZ_EXAMPLES")
    return settings(
        max_examples=int(requested or 200),
        derandomize=requested is None,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
