"""The pre-flight check, `python -m deploy.doctor`: what would stop a run, found before it begins, with what to type."""
