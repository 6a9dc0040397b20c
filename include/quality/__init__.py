"""Is what came good enough? Great Expectations on each boundary: raw feeds before facts, the frame before tuning.

The suites lie in gx/ and are committed; scripts/make_suites.py writes them. GX takes seconds to import: it is imported
when a check runs, not with this package.
"""

from include.quality.checking import check, check_frame
from include.quality.findings import CriticalFailure

__all__ = ["CriticalFailure", "check", "check_frame"]
