"""The comparison of tracers: a folder of gold standards and tracings -> who is where, how surely."""
