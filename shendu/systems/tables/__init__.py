"""Networks for tables: rows of numbers, categories, dates and short texts."""
