"""What was live at a wall time, and by which decision."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from include.console.view import Live
from include.loop.console import Unknown, entries, models, words
from include.release.ledger import Outdated
from include.settings import Settings


def at(settings: Settings, name: str, when: datetime) -> Live:
    """The deployment of that moment. Raises Unknown for a model that nobody knows."""
    if name not in models.names(settings):
        raise Unknown(f"there is no model {name!r}, neither in include/models nor in the ledger")
    nothing = Live(when, None, None, "", 0.0, None)
    try:
        ledger = entries.engine(settings)
        moves = entries.known(ledger).moves.get(name, ())
        live = next((move for move in reversed(moves) if move.at <= when), None)
        if live is None:
            return nothing
        with entries.reader(ledger) as connection:
            row = entries.by_id(connection, live.decision)
    except (entries.NoLedger, Outdated, sa.exc.SQLAlchemyError):
        return nothing
    made = words.decision(settings, row) if row is not None else None
    return Live(when, live.champion, live.challenger, live.stage, live.share, made)
