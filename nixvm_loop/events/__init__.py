"""What happened, as small frozen values, and the one stream that carries them to the presenters."""
