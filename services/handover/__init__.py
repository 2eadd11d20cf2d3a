"""A run handed over: as a script of Azure ML's SDK v1, a shell script, a notebook, or an archive that another home imports."""
