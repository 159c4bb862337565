"""What the screen and the command line ask of the machine: blocking calls, no terminal."""
