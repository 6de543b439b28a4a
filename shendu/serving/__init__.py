"""Serving: finished models behind HTTP. The engine answers, `app` speaks; what a model is asked and says are its task's affair."""
