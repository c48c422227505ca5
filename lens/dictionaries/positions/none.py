"""No position term: all positions alike."""

from __future__ import annotations

from lens.dictionaries.parts import PositionTerm


class NoTerm(PositionTerm):
    """Leaves the code as it is."""

    needs_positions = False
    shared_by = ("batch", "features")
