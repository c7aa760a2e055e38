"""The demonstration: made-up patients, and the story that is played with them."""
