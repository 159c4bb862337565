"""The widgets of the studio, one a file."""
