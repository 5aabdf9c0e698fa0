"""What the commands share: flags, processes that take turns, models of random weights, Markdown."""
