"""Suite, plan, run, store, decision, record."""
