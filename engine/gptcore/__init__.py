"""What the studio and the engine agree on: settings, run record, data formats, tool protocol."""
