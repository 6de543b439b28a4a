"""What people look at: the pages of runs, model cards, drawings, progress on a terminal."""
