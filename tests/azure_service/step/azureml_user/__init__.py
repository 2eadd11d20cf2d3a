"""The package that ParallelRunStep puts beside an entry script."""
