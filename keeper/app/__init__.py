"""The composition root: the only room that names concrete classes. `modes` is the only file that knows dry, fork and live."""
