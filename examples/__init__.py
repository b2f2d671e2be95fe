"""One short script for each row of the tutorial; a reader's own go here too."""
