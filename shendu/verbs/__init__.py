"""What can be done with a system, a data set or a run: one file per verb."""
