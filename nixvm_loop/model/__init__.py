"""The vocabulary: values that travel between the rooms, the settings, and the clock's protocol."""
