"""What can be asserted of a checkpoint: the table, and a file a family."""
