"""What comes in from outside, checked: staging, uploads, archives, datasets, tables, entry scripts, model files."""
