"""SQLite's locks and its shared memory need a local file system; a network one corrupts the ledger quietly (F6)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from scep_server.errors import LedgerUnusable

NETWORK_TYPES: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "lustre"}
)
MOUNTS: Final = Path("/proc/self/mountinfo")


def refuse_network_filesystem(path: Path) -> None:
    """LedgerUnusable when the path lies on a network file system. Says nothing where /proc cannot be read."""
    try:
        mounts = MOUNTS.read_text()
    except OSError:
        return
    found = filesystem_type(path, mounts)
    if found in NETWORK_TYPES or found.startswith(("fuse.sshfs", "fuse.glusterfs", "fuse.ceph")):
        raise LedgerUnusable(
            f"{path} lies on a network file system ({found}), where SQLite is not safe: "
            "put the ledger on a local disk, or use PostgreSQL"
        )


def filesystem_type(path: Path, mountinfo: str) -> str:
    """Type of the mount that holds the path, by /proc/self/mountinfo (proc(5)); empty when none does."""
    target = path.resolve()
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = Path(fields[4].replace("\\040", " ").replace("\\134", "\\"))
        # A later mount on the same point hides the earlier one.
        if (target == point or point in target.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), right.split(" ")[0]
    return kind
