"""Programs that use nothing of `routing` but its public names."""
