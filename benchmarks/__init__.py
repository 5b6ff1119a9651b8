"""Programs that measure: each prints a table, and the numbers in the README come from here."""
