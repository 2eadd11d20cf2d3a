"""What is run again by the clock: when (cron words), and what a person gives the system's own scheduler to do it."""
