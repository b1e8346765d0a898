"""What folders in Hugging Face's layout have in common, whichever engine runs them: files, tokenizers, constraints."""
