"""The fourth stage: pieces of text to token ids."""
