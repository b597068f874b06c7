"""The positions in memory, mirrored from logs: apply, unwind, snapshot. Pure."""
