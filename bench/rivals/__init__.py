"""Side by side with other memory systems: the same texts, questions, model and machine, one run."""
