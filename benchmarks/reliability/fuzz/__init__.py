"""Wrong inputs of every kind that is read are refused by one line, or right."""
