"""What is read from, and written to, the user's Git repository."""
