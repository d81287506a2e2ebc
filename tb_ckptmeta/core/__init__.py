"""What every process shares: the words of the product as plain data. Standard library only."""
