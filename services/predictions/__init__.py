"""A run's output as a typed table: table.py makes it, look.py reads it, the others stand on these two."""
