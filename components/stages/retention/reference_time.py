"""The time by which versions are old: this machine's, but not much later than the newest record of the fleet.

So a clock that is far ahead of the others removes nothing that is young.
"""

import time

from components.rollout.store.newest_record import find_newest_record
from components.stages.workspace import Workspace

_LONGEST_SILENCE_S = 86_400.0


def find_reference_time(workspace: Workspace) -> float:
    """Return the time in seconds since 1970: at most a day after the newest move, night or observation.

    Raises:
        WorkspaceError: the database does not answer.
    """
    newest = find_newest_record(workspace.database)
    return time.time() if newest is None else min(time.time(), newest + _LONGEST_SILENCE_S)
