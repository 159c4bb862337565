"""The commands, a file for each group; what a command needs is imported when it runs."""
