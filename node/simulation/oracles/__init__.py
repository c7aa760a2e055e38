"""What must hold in every history, written again from the rules, one promise a file."""
