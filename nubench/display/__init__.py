"""Pictures of events and of data sets: pure functions from events to figures, and the files they go to."""
