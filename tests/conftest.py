"""Settings of all tests."""

from __future__ import annotations

import hypothesis

# Time limits of single examples fail on a busy machine and say nothing about the code.
hypothesis.settings.register_profile("quartermaster", deadline=None, print_blob=True)
hypothesis.settings.load_profile("quartermaster")
