"""How far to believe the result."""
