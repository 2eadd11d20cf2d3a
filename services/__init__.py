"""What the dashboard and the command line do, without either.

Start reading at `workspace.py` (what can it do?), then `domain.py` (what is a run?) and `settings.py` (what does a setting mean?).
"""
