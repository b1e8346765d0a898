"""What a model's raw text means: reasoning, text and tool calls, told apart by the marks of its dialect."""
