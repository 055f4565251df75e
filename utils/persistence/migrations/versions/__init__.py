"""One readable revision per change of the tables."""
