"""What is lost at a measured speed-up: rows and widths together, rows alone, widths alone."""
