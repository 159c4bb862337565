"""What lies over a screen until it is answered; escape always leaves without doing anything."""
