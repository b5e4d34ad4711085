"""The loop, the schedule, the supervisor."""
