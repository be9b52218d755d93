"""Skills, models and the worker processes that run them; nothing here knows about peers or credit."""
