"""Which processes of a session are alive."""

from pathlib import Path


def alive(session: int) -> list[str]:
    """What runs in a session, by its command and state."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = file.read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
        state, _, _, its_session = rest.split()[:4]
        if int(its_session) == session and state not in "ZX":
            found.append(f"{name}) {state}")
    return found
