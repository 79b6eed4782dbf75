"""Labels and probability to trees in um (never torch, never files)."""
