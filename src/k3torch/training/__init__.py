"""How it is trained: one rung of the ladder a file."""
