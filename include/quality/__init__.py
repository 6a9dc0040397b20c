"""Is what came good enough? Great Expectations on each boundary: raw feeds before facts, the frame before tuning.

The suites lie in gx/ and are committed; scripts/make_suites.py writes them. Importing this package imports GX, which
takes seconds: only tasks that check do so.
"""

from include.quality.checking import check, check_frame
from include.quality.judging import CriticalFailure

__all__ = ["CriticalFailure", "check", "check_frame"]
